"""Signals without handlers: the master keeps its signals blocked and takes them one by one with sigtimedwait.

A handler runs between any two instructions and can do little but set a flag; a blocked signal waits in the kernel until the
master asks, names its sender, and wakes the wait at once. Several of one kind are delivered as one, so a SIGCHLD means "reap
until no child is left", never "one child ended" (nginx: ngx_signal_handler,
ngx_master_process_cycle).

Their meaning for the master:

    TERM INT    stop at once, requests cut          HUP     load the configuration again
    QUIT        stop when the last request is done  USR1    reopen the logs
    CHLD        a child ended                       USR2    start a new binary beside us
    WINCH       send the workers away, keep the sockets
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

BLOCKED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCHLD,
)

# nginx's words for the consequence of a signal (ngx_signal_handler).
CONSEQUENCE = {
    signal.SIGTERM: ", exiting",
    signal.SIGINT: ", exiting",
    signal.SIGQUIT: ", shutting down",
    signal.SIGHUP: ", reconfiguring",
    signal.SIGUSR1: ", reopening logs",
    signal.SIGUSR2: ", changing binary",
    signal.SIGWINCH: ", stop accepting connections",
}
IGNORING = ", ignoring"


class Arrival(NamedTuple):
    """A signal that arrived, and the process that sent it (0: the kernel)."""

    signal: signal.Signals
    sender: int

    def describe(self, consequence: str | None = None) -> str:
        """Return nginx's line about it; consequence: the words to use instead of the usual consequence."""
        sender = f" received from {self.sender}" if self.sender else " received"
        follows = CONSEQUENCE.get(self.signal, "") if consequence is None else consequence
        return f"signal {self.signal.value} ({self.signal.name}){sender}{follows}"

    def __str__(self) -> str:
        return self.describe()


def heed_interrupts() -> None:
    """Make Ctrl-C raise KeyboardInterrupt, also in the background job of a script, for which a shell ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def block_signals() -> None:
    """Keep the master's signals waiting in the kernel from now on."""
    # An ignored SIGCHLD, which exec hands down, would make the kernel reap the workers behind our back.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)


def take_signal(seconds: float) -> Arrival | None:
    """Return the next signal, waiting at most so long; None when none came."""
    info = signal.sigtimedwait(BLOCKED, max(0.0, seconds))
    return Arrival(signal.Signals(info.si_signo), info.si_pid) if info else None


def restore_signals() -> None:
    """In a new worker: restore the signals that the master blocked or handled to their state after exec, for the worker to
    choose.

    HUP, USR1 and USR2 are ignored rather than fatal until the worker has installed its handlers: an operator who signals all
    processes by name must not kill those that are just starting.
    """
    for number in BLOCKED:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def send_signal(pid: int, number: int) -> bool:
    """Signal one process; False when it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
