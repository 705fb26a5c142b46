"""Matching of server names and locations (routing.md §2.2 and §3.2).

The matchers are built once at load and used for every request. They are plain tables, asked in nginx's order.

A regex that matches leaves its match on the request, where `$1` and named captures are read. The connection does not remember a
look-up that asked a regex, because the next request needs its own captures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

from wproxy.http import Request
from wproxy.native import mypyc_attr
from wproxy.regex import Regex

Target = TypeVar("Target")


@mypyc_attr(allow_interpreted_subclasses=True)
class ServerNames(Generic[Target]):
    """The virtual servers of one listener: exact name, longest `*.suffix`, longest `prefix.*`, regexes in order, the default.

    A name given twice belongs to the server that gave it first.
    """

    def __init__(self) -> None:
        self.default: Target | None = None
        self.exact: dict[bytes, Target] = {}
        self.suffixes: dict[bytes, Target] = {}  # b".example.com" for *.example.com
        self.prefixes: dict[bytes, Target] = {}  # b"www." for www.*
        self.regexes: list[tuple[Regex, Target]] = []

    def add(self, name: str, target: Target) -> bool:
        """Enter a server_name; False when any server has taken it already. Raises ValueError for an invalid name.

        `.x` is both `x` and `*.x`: where one of them is taken, both are left out (nginx: ngx_hash_add_key).
        """
        lowered = name.lower()
        if not valid_server_name(lowered):
            raise ValueError(f'server name "{name}" is invalid')
        lowered = lowered.removesuffix(".")
        encoded = lowered.encode("ascii") if lowered.isascii() else _internationalised(lowered)
        if encoded.startswith(b"*."):
            table, key = self.suffixes, encoded[1:]
        elif encoded.startswith(b"."):
            table, key = self.suffixes, encoded
            if key in table or key[1:] in self.exact:
                return False
            self.exact[key[1:]] = target
        elif encoded.endswith(b".*") or lowered.endswith(".*"):
            table, key = self.prefixes, encoded[:-1]
        else:
            table, key = self.exact, encoded
        if key in table:
            return False
        table[key] = target
        return True

    def add_regex(self, regex: Regex, target: Target) -> None:
        """Enter a `~regex`; the first of several that match counts."""
        self.regexes.append((regex, target))

    def share(self, other: ServerNames[Target]) -> None:
        """Have the same names as another one."""
        self.default = other.default
        self.exact = other.exact
        self.suffixes = other.suffixes
        self.prefixes = other.prefixes
        self.regexes = other.regexes

    def find(self, host: bytes | None, request: Request) -> Target:
        """Return the server for a host as `effective_host` gives it (lower case, no port, no trailing dot), or None.

        A regex that matches leaves its captures on the request.
        """
        found = self.match(host, request)
        if found is None:
            found = self.default
        assert found is not None, "a listener has a default server"
        return found

    def match(self, host: bytes | None, request: Request) -> Target | None:
        """Return the server that has this host among its names; None when none has."""
        key = host or b""
        found = self.exact.get(key)
        if found is None and key:
            if self.suffixes or self.prefixes:
                found = self._wildcard(key)
            if found is None and self.regexes:
                found = self._regex(key, request)
        return found

    def _wildcard(self, host: bytes) -> Target | None:
        if self.suffixes:
            dot = host.find(b".")
            while dot >= 0:  # the longest suffix is the one that begins at the first dot
                found = self.suffixes.get(host[dot:])
                if found is not None:
                    return found
                dot = host.find(b".", dot + 1)
        if self.prefixes:
            dot = host.rfind(b".")
            while dot >= 0:
                found = self.prefixes.get(host[: dot + 1])
                if found is not None:
                    return found
                dot = host.rfind(b".", 0, dot)
        return None

    def _regex(self, host: bytes, request: Request) -> Target | None:
        for regex, target in self.regexes:
            match = regex.search(host)
            if match is not None:
                request.capture(match)
                return target
        return None

    @property
    def targets(self) -> list[Target]:
        """All servers, each once."""
        tables = (self.exact, self.suffixes, self.prefixes)
        found = [target for table in tables for target in table.values()] + [target for _, target in self.regexes]
        return list(dict.fromkeys(found if self.default is None else [self.default, *found]))

    def explain(self, host: bytes | None, request: Request) -> str:
        """Return the kind of name that `find` takes for this host: "exact", "wildcard", "regex" or "default"."""
        key = host or b""
        if key in self.exact:
            return "exact"
        if key and self._wildcard(key) is not None:
            return "wildcard"
        return "regex" if key and self._regex(key, request) is not None else "default"


def valid_server_name(name: str) -> bool:
    """Whether a server_name has at most one star, at an end, and no empty label; a regex would begin with `~`."""
    if name.count("*") > 1 or ".." in name or name.startswith("~") or name == ".":
        return False
    middle = name.removeprefix("*.").removesuffix(".*")
    return "*" not in middle and (bool(middle) or not name)


def _internationalised(name: str) -> bytes:
    """Return a name as hosts spell it, `xn--...`; the codec rejects empty labels, so a leading dot bypasses it."""
    return b"." * name.startswith(".") + name.removeprefix(".").encode("idna")


class Nested(Protocol):
    """The part of a location that a matcher knows: the locations inside it."""

    inner: Any  # LocationMatcher of the same kind of location, or None


AnyLocation = TypeVar("AnyLocation", bound=Nested)
# (prefix, its length, the location), the longest first.
Few = tuple[tuple[bytes, int, AnyLocation], ...]


def _best_width(prefixes: list[bytes]) -> int:
    """Return how many leading bytes tell these prefixes apart best: shorter prefixes are tried for every path."""
    widths = range(1, min(32, max(map(len, prefixes))) + 1)

    def most_tries(width: int) -> tuple[int, int]:
        starts: dict[bytes, int] = {}
        for prefix in prefixes:
            if len(prefix) >= width:
                starts[prefix[:width]] = starts.get(prefix[:width], 0) + 1
        short = len(prefixes) - sum(starts.values())
        return short + max(starts.values(), default=0), width

    return min(widths, key=most_tries)


@mypyc_attr(allow_interpreted_subclasses=True)
class LocationMatcher(Generic[AnyLocation]):
    """The locations of one level: `=` is final, else the longest prefix and what is inside it, else the first regex.

    A prefix marked `^~` keeps the regexes of its own level from being asked. `fallback` is the choice when none matches: the
    server itself at the top; inside a location, that location.
    """

    def __init__(self, fallback: AnyLocation) -> None:
        self.fallback = fallback
        self.exact: dict[bytes, AnyLocation] = {}
        self.prefixes: dict[bytes, AnyLocation] = {}
        self.regexes: list[tuple[Regex, AnyLocation]] = []
        self.without_regexes: set[AnyLocation] = set()  # those marked `^~`
        self.is_plain = True  # no regex, nothing nested: `find` needs one look
        self._by_length: tuple[tuple[int, dict[bytes, AnyLocation]], ...] = ()
        self._by_start: dict[bytes, Few[AnyLocation]] = {}
        self._width = 0  # of the starts
        self._few: Few[AnyLocation] = ()

    def add(self, modifier: str, pattern: bytes, target: AnyLocation) -> bool:
        """Enter a location that is not a regex; False when the same one is there already."""
        table = self.exact if modifier == "=" else self.prefixes
        if pattern in table:
            return False
        table[pattern] = target
        if modifier == "^~":
            self.without_regexes.add(target)
        return True

    def add_regex(self, regex: Regex, target: AnyLocation) -> None:
        """Enter a regex location; the first of several that match counts."""
        self.regexes.append((regex, target))

    def share(self, other: LocationMatcher[AnyLocation]) -> None:
        """Have the same locations as another one, which is sealed."""
        self.fallback = other.fallback
        self.exact = other.exact
        self.prefixes = other.prefixes
        self.regexes = other.regexes
        self.without_regexes = other.without_regexes
        self.is_plain = other.is_plain
        self._by_length = other._by_length
        self._by_start = other._by_start
        self._width = other._width
        self._few = other._few

    def seal(self) -> None:
        """Build the tables that `find` asks, after the last `add`.

        Only prefixes that begin like the path are tried, longest first: one slice and one dictionary look-up, whatever their
        number. Where too many begin alike, prefixes are looked up by their length: a slice and a look-up for each different
        length.
        """
        longest_first = [(prefix, len(prefix), target) for prefix, target in self.prefixes.items()]
        longest_first.sort(key=lambda entry: -entry[1])
        self.is_plain = not self.regexes and all(target.inner is None for target in self._each())
        self._few = tuple(longest_first)
        self._by_start = {}
        self._by_length = ()
        if len(longest_first) <= 1:
            return
        self._width = _best_width([prefix for prefix, _, _ in longest_first])
        short = tuple(entry for entry in longest_first if len(entry[0]) < self._width)
        starts: dict[bytes, list[tuple[bytes, int, AnyLocation]]] = {}
        for entry in longest_first[: len(longest_first) - len(short)]:
            starts.setdefault(entry[0][: self._width], []).append(entry)
        if len(short) + max(map(len, starts.values())) <= 8:
            self._few = short
            self._by_start = {
                start: (*entries, *(entry for entry in short if start.startswith(entry[0]))) for start, entries in starts.items()
            }
            return
        lengths: dict[int, dict[bytes, AnyLocation]] = {}
        for prefix, length, target in longest_first:
            lengths.setdefault(length, {})[prefix] = target
        self._few = ()
        self._by_length = tuple(lengths.items())

    def _each(self) -> Iterator[AnyLocation]:
        yield from self.exact.values()
        yield from self.prefixes.values()
        for _, target in self.regexes:
            yield target

    def __iter__(self) -> Iterator[AnyLocation]:
        """Yield all locations of this level, the fallback first."""
        yield self.fallback
        yield from self._each()

    def find(self, path: bytes, request: Request) -> AnyLocation:
        """Return the location for a normalised path; a regex that matches leaves its captures on the request."""
        if self.exact:
            found = self.exact.get(path)
            if found is not None:
                return found
        if not self.is_plain:
            return self._find_deeper(path, request, self._longest_prefix(path))[0]
        # `_longest_prefix` without the call.
        for prefix, length, target in self._by_start.get(path[: self._width], self._few):
            if path[:length] == prefix:  # `startswith` takes twice as many instructions
                return target
        for length, table in self._by_length:
            found = table.get(path[:length])
            if found is not None:
                return found
        return self.fallback

    def find_plainly(self, path: bytes) -> AnyLocation:
        """Return the same where all is plain: it does not depend on the request."""
        found = self.exact.get(path)
        if found is None:
            found = self._longest_prefix(path)
        return self.fallback if found is None else found

    def _longest_prefix(self, path: bytes) -> AnyLocation | None:
        for prefix, length, target in self._by_start.get(path[: self._width], self._few):
            if path[:length] == prefix:
                return target
        for length, table in self._by_length:
            found = table.get(path[:length])
            if found is not None:
                return found
        return None

    def _find_deeper(self, path: bytes, request: Request, prefix: AnyLocation | None) -> tuple[AnyLocation, bool]:
        """Return the location, and whether the choice is final (no regex of an outer level may change it)."""
        choice = self.fallback
        asks_regexes = True
        trace = request.trace
        if trace is not None:
            self._tell_losers(path, prefix, trace)
        if prefix is not None:
            choice = prefix
            asks_regexes = prefix not in self.without_regexes
            if trace is not None:
                trace.considered(prefix, "the longest prefix" if asks_regexes else "the longest prefix, and no regex is asked")
            inner: LocationMatcher[AnyLocation] | None = prefix.inner
            if inner is not None:
                choice, is_final = inner.find_level(path, request)
                if is_final:
                    return choice, True
        if asks_regexes:
            for regex, target in self.regexes:
                match = regex.search(path)
                if trace is not None:
                    trace.considered(target, "regex, matches" if match else "regex, does not match")
                if match is None:
                    continue
                if trace is not None:
                    self._tell_unasked(trace, target)
                request.capture(match)
                inner = target.inner
                return (inner.find_level(path, request)[0] if inner is not None else target), True
        elif trace is not None:
            self._tell_unasked(trace)
        return choice, False

    def _tell_unasked(self, trace: Any, winner: AnyLocation | None = None) -> None:
        """Tell the trace which regexes were not asked: those after the winner, or all when none won."""
        targets = [target for _, target in self.regexes]
        for target in targets if winner is None else targets[targets.index(winner) + 1 :]:
            trace.considered(target, "regex, is not asked")

    def _tell_losers(self, path: bytes, winner: AnyLocation | None, trace: Any) -> None:
        """Tell the trace which locations of this level are not chosen, and why."""
        for target in self.exact.values():
            trace.considered(target, "exact, is another URI")
        for pattern, target in self.prefixes.items():
            if target is not winner:
                trace.considered(target, "a shorter prefix" if path.startswith(pattern) else "prefix, does not match")

    def find_level(self, path: bytes, request: Request) -> tuple[AnyLocation, bool]:
        """Do what `find` does for the level inside a location, and also tell whether the choice is final."""
        found = self.exact.get(path)
        if found is not None:
            if request.trace is not None:
                request.trace.considered(found, "exact")
            return found, True
        return self._find_deeper(path, request, self._longest_prefix(path))

    def explain(self, path: bytes, request: Request) -> AnyLocation:
        """Do what `find` does, and tell `request.trace` every location that is considered."""
        return self.find_level(path, request)[0]
