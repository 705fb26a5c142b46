"""valid_referers: whether a request comes from a page of ours (nginx: ngx_http_referer_module.c, subrequests.md §7.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from wproxy.matching import ServerNames
from wproxy.regex import Regex

if TYPE_CHECKING:
    from wproxy.directives.client_address import Referrers
    from wproxy.directives.listen import ServerName
    from wproxy.http import Request

_SCHEME = re.compile(rb"https?://", re.IGNORECASE)
_HOST_END = re.compile(rb"[/:]")
# A shorter Referer is blocked, whatever it says: there is no shorter URL (nginx: "http://i.ru").
_SHORTEST = 11
_LONGEST_HOST = 256


class RefererTest:
    """The test of one location. lets_none, lets_blocked: whether a request may have no Referer, or one that is not a URL."""

    def __init__(self, lines: Iterable[Referrers], server_names: Iterable[ServerName]) -> None:
        words = frozenset(word for line in lines for word in line.words)
        self.lets_none = "none" in words
        self.lets_blocked = "blocked" in words
        self.regexes = [regex for line in lines for regex in line.regexes]
        self.host_regexes: list[Regex] = []
        # By host: the beginning that the path must have.
        self.hosts: ServerNames[bytes] = ServerNames()
        for name in server_names if "server_names" in words else ():
            if name.regex is not None:
                self.host_regexes.append(name.regex)
            else:
                self._add(name.text, "")
        for text in (name for line in lines for name in line.names):
            host, slash, path = text.partition("/")
            self._add(host, slash + path)

    def _add(self, host: str, path: str) -> None:
        with suppress(ValueError):  # `http://example.com` is accepted, and no host is called `http:`
            self.hosts.add(host, path.encode("utf-8", "surrogateescape"))

    def is_passed(self, request: Request) -> bool:
        """Whether the request's Referer is valid."""
        referer = request.fields.get(b"referer")
        if referer is None:
            return self.lets_none
        scheme = _SCHEME.match(referer) if len(referer) >= _SHORTEST else None
        if scheme is None:
            return self.lets_blocked
        rest = referer[scheme.end() :]
        end = _HOST_END.search(rest)
        host = rest[: end.start()].lower() if end is not None else rest.lower()
        if len(host) > _LONGEST_HOST:
            return False
        wanted = self.hosts.match(host, request)
        if wanted is not None:
            slash = rest.find(b"/", len(host))
            return not wanted or (slash >= 0 and rest[slash:].startswith(wanted))
        return any(regex.pattern.search(host) for regex in self.host_regexes) or any(
            regex.pattern.search(rest) for regex in self.regexes
        )


def referer_test(lines: tuple[Referrers, ...], server_names: tuple[ServerName, ...]) -> RefererTest | None:
    """Return the test of a location; None where every Referer is valid, because no line names a host."""
    test = RefererTest(lines, server_names) if lines else None
    if test is None or not (test.regexes or test.hosts.exact or test.hosts.suffixes or test.hosts.prefixes):
        return None
    return test
