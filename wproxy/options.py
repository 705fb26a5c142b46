"""nginx's options: `-t -T -q -v -V -h -? -c -p -e -g -s`, bundled and with glued arguments as nginx reads them
(nginx: ngx_get_options in src/core/nginx.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wproxy.cli import configuration_file, prefix_of
from wproxy.identity import Identity

SIGNALS = ("stop", "quit", "reopen", "reload")

# Letters that take an argument: the attribute that gets it, and the words for a missing one.
_WITH_ARGUMENT = {
    "p": ("prefix", "directory name"),
    "e": ("error_log", "file name"),
    "c": ("file", "file name"),
    "g": ("directives", "parameter"),
    "s": ("signal", "parameter"),
}
# Letters that stand alone: the attribute that they set.
_SWITCHES = {
    "?": ("version", "help"),
    "h": ("version", "help"),
    "v": ("version",),
    "V": ("version", "build"),
    "t": ("test",),
    "T": ("test", "dump"),
    "q": ("quiet",),
}


class BadOption(Exception):
    """A command line that makes no sense, in nginx's words."""


@dataclass(slots=True)
class Options:
    """The options of a command line. error_log, file, prefix: as given, or None."""

    version: bool = False
    build: bool = False
    help: bool = False
    test: bool = False
    dump: bool = False
    quiet: bool = False
    signal: str = ""
    directives: str = ""
    prefix: str | None = None
    file: str | None = None
    error_log: str | None = None


class Paths(NamedTuple):
    """The paths of a start. prefix: with its trailing slash, relative if it was given so; file: the main file.

    log: the log until the configuration's own is open: a path, "stderr", or "" for none.
    """

    prefix: str
    file: str
    log: str


def read_options(words: Sequence[str]) -> Options:
    """Read the words after the program's name; raises BadOption at the first that makes no sense."""
    options = Options()
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            raise BadOption(f'invalid option: "{word}"')
        for index, letter in enumerate(word[1:], start=2):
            if letter in _WITH_ARGUMENT:
                attribute, missing = _WITH_ARGUMENT[letter]
                if not word[index:] and not left:
                    raise BadOption(f'option "-{letter}" requires {missing}')
                setattr(options, attribute, word[index:] or left.pop(0))
                break
            if letter not in _SWITCHES:
                raise BadOption(f'invalid option: "{letter}"')
            for attribute in _SWITCHES[letter]:
                setattr(options, attribute, True)
        if options.signal and options.signal not in SIGNALS:
            raise BadOption(f'invalid option: "-s {options.signal}"')
    return options


def find_paths(options: Options, identity: Identity, exists: Callable[[str], bool] = os.path.exists) -> Paths:
    """Return the main file, the prefix and the first log (nginx: ngx_process_options).

    A relative main file or log is taken from the prefix. Under our own name and without -p there is no prefix to take it from:
    then the prefix is the main file's directory.
    """
    if options.prefix is None and not identity.prefix:
        file = configuration_file(options.file)
        prefix = prefix_of(None, file)
        file = os.path.abspath(file) if exists(file) else file
    else:
        prefix = os.path.join(options.prefix or identity.prefix, "")
        usual = (identity.file,) if identity.file else ("wproxy.toml", "nginx.conf")
        found = (name for name in usual if exists(os.path.join(prefix, name)))
        file = os.path.join(prefix, options.file or next(found, usual[0]))
    log = identity.error_log if options.error_log is None else options.error_log
    return Paths(prefix, file, log if log in ("", "stderr") else os.path.join(prefix, log))
