"""What the demo says, and who listens."""

from __future__ import annotations

import os

from master.demo.signals import Ended


def say(text: str, end: str = "\n") -> None:
    """Print at once, also into a pipe. Nobody there to read it any more ends the demo as Ctrl-C does."""
    try:
        print(text, end=end, flush=True)
    except OSError:
        _silence()
        raise Ended from None


def say_goodbye(text: str) -> None:
    """The last word, if anybody listens."""
    try:
        say(text)
    except Ended:
        pass


def _silence() -> None:
    """Standard output leads nowhere: the interpreter flushes it once more at exit and must not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
