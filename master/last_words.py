"""What a worker that fails leaves to its master: why it could not begin, or the stack of a crash.

Each worker has a file without a name for it, since at its end nothing else of it is left. The reason is written by the worker
itself and ends with a zero byte; the stack is written by the handler of `faulthandler`, which is C and needs nothing of the
interpreter.
"""

from __future__ import annotations

import faulthandler
import os
from typing import NamedTuple

from wproxy.config.tree import printable, printable_lines

LIMIT = 32768  # bytes that are read of it


class LastWords(NamedTuple):
    """The reason of a failure in one line, and the stack of a crash; "" where there is none."""

    reason: str = ""
    stack: str = ""


NOTHING_SAID = LastWords()


def make_file() -> int:
    """Make the file of one worker; returns its descriptor. Raises OSError."""
    return os.memfd_create("last-words-of-a-worker", os.MFD_CLOEXEC)


def leave_stack_in(fileno: int) -> None:
    """Have a crash of this process, or an ABRT, write the stack there."""
    faulthandler.enable(fileno, all_threads=True)


def leave_reason(fileno: int, reason: str) -> None:
    """Write there why this process fails."""
    os.write(fileno, reason.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")[: LIMIT // 2] + b"\0")


def take(fileno: int) -> LastWords:
    """Read what a worker that has ended left there, and close the file."""
    try:
        text = os.pread(fileno, LIMIT, 0).decode("utf-8", "replace")  # the words of one who may have been broken into
    finally:
        os.close(fileno)
    reason, ended, stack = text.partition("\0")
    if not ended:
        reason, stack = "", text
    return LastWords(printable(reason), printable_lines(stack).strip())
