"""nginx's regular expressions on Python's `re`: PCRE2's syntax, PCRE2's messages, and a bound on the time of a match.

`compile_regex` reads the pattern (parse), writes it for `re` (emit) and computes how long a match can take (safety). Most
regexes of a configuration are proven to be quick: their `search` is the compiled pattern's own. The others ask the guard when a
subject is long enough to hurt: a worker installs one that ends a match after a time limit (worker/regex_guard.py); elsewhere no
client waits, and the guard is the plain search.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, NoReturn

from wproxy.regex.emit import emit
from wproxy.regex.nodes import ALL
from wproxy.regex.parse import Parser
from wproxy.regex.pattern import PatternError, Untranslatable
from wproxy.regex.safety import NO_LIMIT, contains_reference, is_anchored, leading_taker, unwatched_length

__all__ = ["Regex", "RegexTimedOut", "compile_regex", "install_guard"]

Search = Callable[[bytes], "re.Match[bytes] | None"]
Guard = Callable[["Regex", Search, bytes], "re.Match[bytes] | None"]


class RegexTimedOut(Exception):
    """The guard ended a match: the counterpart of PCRE2's match limit in nginx, so the request fails with 500.

    regex: the regex of the match. length: bytes of the subject. seconds: the guard's limit. The text is a line for the error log;
    it ends with the place of the regex in the configuration, if that is known.
    """

    def __init__(self, regex: Regex, subject: bytes, seconds: float) -> None:
        self.regex = regex
        self.length = len(subject)
        self.seconds = seconds
        start = subject[:64].decode("utf-8", "backslashreplace") + "..." * (len(subject) > 64)
        where = f": {regex.origin}" if regex.origin else ""
        took = f"took more than {seconds * 1000:g} ms on {len(subject)} bytes"
        super().__init__(f'regex "{regex.text}" {took}, "{start}", match abandoned{where}')


class _Compiled(NamedTuple):
    """The result of compiling one pattern, shared by all places of a configuration that contain it."""

    pattern: re.Pattern[bytes]
    names: tuple[str, ...]
    anchored: bool
    unwatched: int


class Regex:
    """A compiled regular expression.

    text: as written. caseless: as requested, whatever flags the text sets itself. groups: the number of captures. names: the
    named groups, in order. origin: its place in the configuration ("FILE:LINE"), for RegexTimedOut. unwatched: the longest
    subject, in bytes, that needs no guard; NO_LIMIT (-1) when none does. search(value) finds the first match anywhere in the
    value; raises RegexTimedOut if a guard is installed.
    """

    __slots__ = ("caseless", "groups", "names", "origin", "pattern", "search", "text", "unwatched")
    search: Search

    def __init__(self, text: str, caseless: bool, origin: str, compiled: _Compiled) -> None:
        self.text = text
        self.caseless = caseless
        self.origin = origin
        self.pattern = compiled.pattern
        self.groups = compiled.pattern.groups
        self.names = compiled.names
        self.unwatched = compiled.unwatched
        # `search` of an anchored pattern fails once for each byte of the subject; `match` fails once.
        plain = compiled.pattern.match if compiled.anchored else compiled.pattern.search
        self.search = plain if compiled.unwatched == NO_LIMIT else _watched(self, plain, compiled.unwatched)

    def __repr__(self) -> str:
        return f"<Regex {self.text}>"


def compile_regex(pattern: str, caseless: bool = False, origin: str = "") -> Regex:
    """Return the regex of a pattern in PCRE2's syntax, matched byte by byte as nginx does (no UTF mode).

    pattern: as in the configuration; bytes that are not UTF-8 are surrogate escapes. caseless: `~*`. origin: "FILE:LINE".
    Raises ValueError with nginx's message for a pattern that PCRE2 refuses, and with the construct and a remedy for one that it
    accepts but Python's `re` cannot run.
    """
    return Regex(pattern, caseless, origin, _compile(pattern, caseless))


@lru_cache(maxsize=4096)
def _compile(pattern: str, caseless: bool) -> _Compiled:
    text = pattern.encode("utf-8", "surrogateescape")
    parser = Parser(text.decode("latin-1"), caseless)
    try:
        tree = parser.parse()
        translated = emit(tree)
        taker = None if contains_reference(tree) else leading_taker(tree)
        anchored = is_anchored(tree) or (taker is not None and taker.mask == ALL)
        if taker is not None and not anchored:
            # `.*` finds nothing later in a line that it does not find from the line's start (PCRE2 uses that too).
            translated = rf"(?:\A|(?<=\n))(?:{translated})"
        compiled = re.compile(translated.encode("latin-1"))
        return _Compiled(compiled, tuple(parser.names), anchored, unwatched_length(tree, anchored))
    except PatternError as error:
        _refuse(pattern, text, error)
    except Untranslatable as error:
        raise ValueError(f'regex "{pattern}" uses {error.construct}, which is not supported: {error.advice}') from None
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f'regex "{pattern}" is not supported: {error}, write it more simply') from None


def _refuse(pattern: str, text: bytes, error: PatternError) -> NoReturn:
    """Raise ValueError with nginx's message (ngx_regex.c)."""
    rest = text[error.offset :].decode("utf-8", "surrogateescape")
    where = f' at "{rest}"' if rest else ""
    raise ValueError(f'pcre2_compile() failed: {error.reason} in "{pattern}"{where}') from None


# The guard.


def _unguarded(regex: Regex, search: Search, value: bytes) -> re.Match[bytes] | None:
    return search(value)


_guard: Guard = _unguarded


def install_guard(guard: Guard | None) -> None:
    """Make every search that may take long go through `guard(regex, search, value)`; None: directly, as at the start.

    The guard calls search(value) and returns its result, or raises RegexTimedOut.
    """
    global _guard
    _guard = guard or _unguarded


def _watched(regex: Regex, plain: Search, unwatched: int) -> Search:
    def search(value: bytes) -> re.Match[bytes] | None:
        return plain(value) if len(value) <= unwatched else _guard(regex, plain, value)

    return search
