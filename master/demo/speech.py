"""The output of the demo, and the loss of its reader."""

from __future__ import annotations

import os

from master.demo.signals import Ended


def say(text: str, end: str = "\n") -> None:
    """Print at once, also into a pipe. When no one can read it any more, the demo ends as with Ctrl-C."""
    try:
        print(text, end=end, flush=True)
    except OSError:
        _silence()
        raise Ended from None


def say_goodbye(text: str) -> None:
    """Print the last word, if there is still a reader."""
    try:
        say(text)
    except Ended:
        pass


def _silence() -> None:
    """Send standard output nowhere: the interpreter flushes it once more at exit and must not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
