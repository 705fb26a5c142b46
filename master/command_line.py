"""The command that starts this program again, possibly in another version of it and of Python (nginx: ngx_exec_new_binary).

nginx executes its argv[0] once more. Ours is not always a program of its own:

    /usr/bin/wproxy, /usr/sbin/nginx -> wproxy     a script with `#!`, which the kernel turned into an interpreter and the
                                                   script's name. We execute the script: its first line may name a new
                                                   interpreter by now, and a link may lead to a new program
    python -m wproxy, python script                the same interpreter with all its options and words, by the path under
                                                   which it was started: a link to it, or a virtual environment, may lead to
                                                   a new one

The script's first line, read at the start, tells which of the two it was.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Command(NamedTuple):
    """A program by its path, and its words, the first of which is its own name."""

    path: str
    words: list[str]


def own_command() -> Command:
    """Return the command that started us; to be called at the start."""
    script = sys.argv[0] if sys.argv else ""
    return command_to_repeat(sys.orig_argv, sys.argv, sys.executable, _first_line(script))


def command_to_repeat(original: Sequence[str], arguments: Sequence[str], executable: str, first_line: str) -> Command:
    """Return the command that starts the program again.

    original: the words as the kernel has them, interpreter first; arguments: the words that the program sees. executable: the
    interpreter's path, "" if unknown; first_line: the first line of the script that `arguments` begins with, "" if it is not a
    script.
    """
    before = list(original[: len(original) - len(arguments)])
    words_match = list(original[len(before) :]) == list(arguments)
    if words_match and first_line.startswith("#!") and arguments[0].count("/"):
        # The kernel passes at most one word on to the interpreter, including any spaces; env does not split it either.
        interpreter, _, option = first_line[2:].strip().partition(" ")
        started_so = [interpreter, option.strip()] if option.strip() else [interpreter]
        through_env = os.path.basename(interpreter) == "env"
        if before in (started_so, started_so[1:] if through_env else started_so):
            return Command(arguments[0], list(arguments))
    return Command(executable or original[0], list(original))


def _first_line(path: str) -> str:
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except (OSError, ValueError):
        return ""
    return line.decode("utf-8", "surrogateescape").rstrip("\n") if line.startswith(b"#!") and os.access(path, os.X_OK) else ""
