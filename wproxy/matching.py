"""Which server and which location: server_name and location matching (routing.md §2.2 and §3.2).

Built once at load, asked for every request. The pieces are plain tables; the order in which they are asked is nginx's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Target = TypeVar("Target")


class ServerNames(Generic[Target]):
    """The virtual servers of one listener: exact name, longest `*.suffix`, longest `prefix.*`, then the default.

    A name given twice belongs to the server that gave it first.
    """

    def __init__(self) -> None:
        self.default: Target | None = None
        self.exact: dict[bytes, Target] = {}
        self.suffixes: dict[bytes, Target] = {}  # b".example.com" for *.example.com
        self.prefixes: dict[bytes, Target] = {}  # b"www." for www.*

    def add(self, name: str, target: Target) -> bool:
        """Enter a server_name; False when it was taken already. Raises ValueError for a name that is none."""
        lowered = name.lower().removesuffix(".") if name != "." else name
        if not valid_server_name(lowered):
            raise ValueError(f'server name "{name}" is invalid')
        encoded = lowered.encode("ascii") if lowered.isascii() else _internationalised(lowered)
        if encoded.startswith(b"*."):
            table, key = self.suffixes, encoded[1:]
        elif encoded.startswith(b"."):
            table, key = self.suffixes, encoded
            self.exact.setdefault(encoded[1:], target)
        elif encoded.endswith(b".*") or lowered.endswith(".*"):
            table, key = self.prefixes, encoded[:-1]
        else:
            table, key = self.exact, encoded
        return table.setdefault(key, target) is target

    def find(self, host: bytes | None) -> Target:
        """The server for a host as `effective_host` gives it: lower case, no port, no trailing dot; None without one."""
        key = host or b""
        found = self.exact.get(key)
        if found is None and key:
            found = self._wildcard(key)
        if found is None:
            found = self.default
        assert found is not None, "a listener has a default server"
        return found

    def _wildcard(self, host: bytes) -> Target | None:
        if self.suffixes:
            dot = host.find(b".")
            while dot >= 0:  # the longest suffix is the one that begins at the first dot
                found = self.suffixes.get(host[dot:])
                if found is not None and dot:
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


def valid_server_name(name: str) -> bool:
    """Whether a (lower-case) server_name has its stars at the ends only and no empty label; `~` would be a regex."""
    middle = name.removeprefix("*.").removesuffix(".*").removeprefix(".")
    if (name.startswith("*.") and name.endswith(".*")) or name.startswith("~"):
        return False
    return not ("*" in middle or ".." in name or name.endswith(".") or "/" in middle) and (bool(middle) or not name)


def _internationalised(name: str) -> bytes:
    """A name as hosts spell it, `xn--...`; the codec knows no empty label, so a leading dot goes around it."""
    return b"." * name.startswith(".") + name.removeprefix(".").encode("idna")


class LocationMatcher(Generic[Target]):
    """The locations of one server: `=` is final, else the longest prefix, else the server itself."""

    def __init__(self, fallback: Target) -> None:
        self.fallback = fallback
        self.exact: dict[bytes, Target] = {}
        self.prefixes: dict[bytes, Target] = {}
        self._by_length: tuple[tuple[int, dict[bytes, Target]], ...] = ()
        self._few: tuple[tuple[bytes, Target], ...] = ()

    def add(self, modifier: str, pattern: bytes, target: Target) -> bool:
        """Enter a location; False when the same one is there already."""
        table = self.exact if modifier == "=" else self.prefixes
        if pattern in table:
            return False
        table[pattern] = target
        return True

    def seal(self) -> None:
        """Build the tables that `find` asks, after the last `add`.

        A few prefixes are tried one by one, longest first: 0.05 us each. Many are looked up by their length: one slice and
        one dictionary look-up for each different length, whatever their number.
        """
        longest_first = sorted(self.prefixes.items(), key=lambda item: -len(item[0]))
        if len(longest_first) <= 8:
            self._few = tuple(longest_first)
            self._by_length = ()
            return
        lengths: dict[int, dict[bytes, Target]] = {}
        for prefix, target in longest_first:
            lengths.setdefault(len(prefix), {})[prefix] = target
        self._few = ()
        self._by_length = tuple(lengths.items())

    def __iter__(self) -> Iterator[Target]:
        """All locations, the fallback first."""
        yield self.fallback
        yield from self.exact.values()
        yield from self.prefixes.values()

    def find(self, path: bytes) -> Target:
        """The location for a normalised path."""
        if self.exact:
            found = self.exact.get(path)
            if found is not None:
                return found
        for prefix, target in self._few:
            if path.startswith(prefix):
                return target
        for length, table in self._by_length:
            found = table.get(path[:length])
            if found is not None:
                return found
        return self.fallback
