"""The arguments of the directives about clients behind a proxy and about links and referrers (nginx: ngx_http_realip_module.c,
ngx_http_referer_module.c).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.maps.addresses import Network, parse_network
from wproxy.matching import valid_server_name
from wproxy.regex import Regex, compile_regex


class TrustedAddress(NamedTuple):
    """A `set_real_ip_from`. network: None for `unix:`, and for a host, whose addresses must be looked up."""

    text: str
    network: Network | None = None

    @property
    def is_host(self) -> bool:
        """Whether it is a host name."""
        return self.network is None and self.text != "unix:"


def trusted_address(text: str) -> TrustedAddress:
    """Return an address, a network, `unix:` or a host name."""
    try:
        return TrustedAddress(text, None if text == "unix:" else parse_network(text)[0])
    except ValueError:
        return TrustedAddress(text)


class Referrers(NamedTuple):
    """A `valid_referers`. words: none, blocked, server_names; names: hosts with wildcards and paths; regexes."""

    words: frozenset[str]
    names: tuple[str, ...]
    regexes: tuple[Regex, ...]


def referrers(*words: str) -> Referrers:
    """Read `none`, `blocked`, `server_names`, hosts with the beginning of their path, and regexes after `~`."""
    names: list[str] = []
    regexes: list[Regex] = []
    kinds = {"none", "blocked", "server_names"}
    for word in words:
        if not word:
            raise ValueError('invalid referer ""')
        if word.startswith("~"):
            if word == "~":
                raise ValueError('empty regex in "~"')
            regexes.append(compile_regex(word[1:], True))
        elif word not in kinds:
            host = re.sub(r"^https?://", "", word, flags=re.IGNORECASE).partition("/")[0]
            if ("*" in host and not re.match(r"\*\..|[^*]*\.\*$", host)) or not valid_server_name(host):
                raise ValueError(f'invalid hostname or wildcard "{host}"')
            if word in names:
                raise ValueError(f'conflicting parameter "{word}"')
            names.append(word)
    return Referrers(frozenset(kinds.intersection(words)), tuple(names), tuple(regexes))
