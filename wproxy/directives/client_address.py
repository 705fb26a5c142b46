"""The arguments of the directives about clients behind a proxy and about links and referrers (nginx: ngx_http_realip_module.c,
ngx_http_referer_module.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from wproxy.config.low_bits import low_bits
from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import flag, text
from wproxy.maps.addresses import Network, parse_network
from wproxy.matching import valid_server_name
from wproxy.regex import Regex, compile_regex
from wproxy.template import Template, compile_template


@dataclass(slots=True)
class TrustedAddress:
    """A `set_real_ip_from`. networks: none for `unix:`; those of a host are looked up when the configuration has been read."""

    text: str
    networks: tuple[Network, ...] = ()

    @property
    def is_host(self) -> bool:
        """Whether it is a host name that is still to be looked up."""
        return not self.networks and self.text != "unix:"


def trusted_address(text: str) -> TrustedAddress:
    """Return an address, a network, `unix:` or a host name."""
    try:
        return TrustedAddress(text, () if text == "unix:" else (parse_network(text)[0],))
    except ValueError:
        return TrustedAddress(text)


class RealIpDirectives:
    """The address of a client behind proxies (nginx: ngx_http_realip_module.c)."""

    set_real_ip_from: tuple[TrustedAddress, ...] = directive(
        trusted_address,
        HTTP | SERVER | LOCATION,
        inherit=GATHER,
        warns=low_bits,
        doc="A proxy that is believed when it names its client: an address, a network, a host name, or `unix:` for unix sockets.",
    )
    real_ip_header: str = directive(
        text,
        HTTP | SERVER | LOCATION,
        default="X-Real-IP",
        doc="The field in which proxies name their client: X-Real-IP, X-Forwarded-For, any other; or `proxy_protocol`.",
    )
    real_ip_recursive: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether the client is the last address in the field that is not itself a trusted proxy, or simply the last one.",
    )


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


class LinkDirectives:
    """Links and pages that are ours (nginx: ngx_http_secure_link_module.c, ngx_http_referer_module.c)."""

    valid_referers: tuple[Referrers, ...] = directive(
        referrers,
        SERVER | LOCATION,
        arity=(1, 1000),
        inherit=GATHER,
        doc="The pages that requests may come from, for `$invalid_referer`: `none`, `blocked`, `server_names`, hosts, ~regexes.",
    )
    secure_link: Template | None = directive(
        compile_template,
        HTTP | SERVER | LOCATION,
        doc="The hash of a link, in base64url, and after a comma the time of its end: for `$secure_link`.",
    )
    secure_link_md5: Template | None = directive(
        compile_template, HTTP | SERVER | LOCATION, doc="The text whose MD5 the hash of secure_link must be."
    )
    secure_link_secret: str | None = directive(
        text, HTTP | SERVER | LOCATION, doc="The secret in the MD5 of links `/prefix/MD5/link`: `$secure_link` is then the link."
    )
