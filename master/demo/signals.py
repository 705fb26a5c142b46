"""Pauses that a signal ends.

As in the master (`master.signals`), signals wait in the kernel until they are asked for. So the story can be broken off
between two sentences only, never between starting a child and noting its pid.
"""

from __future__ import annotations

import signal

# nohup ignores SIGHUP, but a blocked signal waits in the kernel ignored or not: then it is not ours to take.
ENDINGS = (
    signal.SIGINT,
    signal.SIGTERM,
    *((signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()),
)


class Ended(Exception):
    """Somebody wants the demo to end: Ctrl-C, kill, a closed terminal."""


def hold_signals() -> None:
    """From now on signals are seen by `pause` alone."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)


def release_signals() -> None:
    """For a child: it is not to inherit what we hold back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


def pause(seconds: float) -> None:
    """Wait; raises Ended at once when somebody wants the demo to end."""
    if signal.sigtimedwait(ENDINGS, seconds) is not None:
        raise Ended
