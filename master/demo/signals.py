"""Pauses that a signal ends.

As in the master (`master.signals`), signals wait in the kernel until they are asked for. So the story can only be interrupted
between two sentences, never between starting a child and noting its pid.
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
    """The user wants the demo to end: Ctrl-C, kill, a closed terminal."""


def hold_signals() -> None:
    """Let only `pause` see signals from now on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)


def release_signals() -> None:
    """Unblock the signals in a child: it must not inherit the blocked ones."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


def pause(seconds: float) -> None:
    """Wait; raises Ended at once when the user wants the demo to end."""
    if signal.sigtimedwait(ENDINGS, seconds) is not None:
        raise Ended
