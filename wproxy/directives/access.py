"""Access by address (nginx: src/http/modules/ngx_http_access_module.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.config.low_bits import low_bits
from wproxy.config.registry import GATHER, HTTP, LIMIT_EXCEPT, LOCATION, SERVER, directive
from wproxy.maps.addresses import Network, parse_network

LEVELS = HTTP | SERVER | LOCATION | LIMIT_EXCEPT


class AddressRule(NamedTuple):
    """One `allow` or `deny`. network: None for `all` and for `unix:`."""

    allows: bool
    text: str
    network: Network | None = None

    @property
    def is_for_all(self) -> bool:
        """Read `all`."""
        return self.text == "all"


def rule(allows: bool) -> Callable[[str], AddressRule]:
    """Return a reader of `allow` or `deny`: an address, a network, `all` or `unix:`."""

    def read(text: str) -> AddressRule:
        if text in ("all", "unix:"):
            return AddressRule(allows, text)
        try:
            return AddressRule(allows, text, parse_network(text)[0])
        except ValueError:
            raise ValueError(f'invalid parameter "{text}"') from None

    return read


class AccessDirectives:
    """The rules; the first match counts. A block that has either directive inherits neither."""

    access_rules: tuple[AddressRule, ...] = ()  # allow and deny, in the order of the file

    allow: tuple[AddressRule, ...] = directive(
        rule(True),
        LEVELS,
        inherit=GATHER,
        named=True,
        joins="access_rules",
        warns=low_bits,
        doc="Let in clients from an address or network; also all, unix:.",
    )
    deny: tuple[AddressRule, ...] = directive(
        rule(False),
        LEVELS,
        inherit=GATHER,
        named=True,
        joins="access_rules",
        warns=low_bits,
        doc="Refuse clients from an address or network with 403; also all, unix:.",
    )
