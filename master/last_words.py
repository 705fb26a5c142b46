"""The last words of a failing worker, for its master: why it could not begin, or the stack of a crash.

Each worker has a nameless file for them, since nothing else of it is left at its end. The worker itself writes the reason, which
ends with a zero byte; the handler of `faulthandler`, which is C and needs nothing of the interpreter, writes the stack.
"""

from __future__ import annotations

import faulthandler
import os
from typing import NamedTuple

from wproxy.config.tree import printable, printable_lines

LIMIT = 32768  # the bytes that are read of it


class LastWords(NamedTuple):
    """The reason of a failure in one line, and the stack of a crash; "" for none."""

    reason: str = ""
    stack: str = ""


NOTHING_SAID = LastWords()


def make_file() -> int:
    """Make the file of one worker; return its descriptor. Raises OSError."""
    return os.memfd_create("last-words-of-a-worker", os.MFD_CLOEXEC)


def leave_stack_in(fileno: int) -> None:
    """Make a crash of this process, or an ABRT, write the stack there."""
    faulthandler.enable(fileno, all_threads=True)


def leave_reason(fileno: int, reason: str) -> None:
    """Write there why this process fails."""
    os.write(fileno, reason.encode("utf-8", "backslashreplace").replace(b"\0", b"\\0")[: LIMIT // 2] + b"\0")


def take(fileno: int) -> LastWords:
    """Read what an ended worker left there, and close the file."""
    try:
        text = os.pread(fileno, LIMIT, 0).decode("utf-8", "replace")  # from a worker that may have been broken into
    finally:
        os.close(fileno)
    reason, ended, stack = text.partition("\0")
    if not ended:
        reason, stack = "", text
    return LastWords(printable(reason), printable_lines(stack).strip())
