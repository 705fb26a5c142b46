"""`geo`: a value chosen by an address (nginx: src/http/modules/ngx_http_geo_module.c).

The address is the client's, or that of a variable. If it is that of a trusted proxy, X-Forwarded-For gives the address. Anything
that is not an address, such as a unix socket, is looked up as 255.255.255.255.
"""

from __future__ import annotations

from functools import lru_cache

from wproxy.http import Request
from wproxy.maps.addresses import NO_ADDRESS, Network, NumberedAddress, RangeTable, parse_ip, parse_ip_and_port
from wproxy.maps.map import shown, told
from wproxy.template import Template
from wproxy.variables import BLOCK

# The number of addresses whose values a geo remembers, in each worker.
REMEMBERED = 4096
LONGEST_ADDRESS = 45

Ranges = dict[tuple[int, int], str]


class Geo:
    """One geo. source: the template of the address, None for the client's own.

    proxies: those whose X-Forwarded-For is trusted; is_recursive: whether the proxies named in it are trusted too. volatile:
    whether it is looked up on every read.
    """

    def __init__(self, name: str, source: Template | None) -> None:
        self.name = name
        self.source = source
        self.proxies: list[Network] = []
        self.is_recursive = False
        self.volatile = False
        self.look_up = lru_cache(REMEMBERED)(self.find)
        self._tables: dict[int, RangeTable[bytes]] = {4: RangeTable({}), 6: RangeTable({})}
        self._default = b""

    def seal(self, v4: Ranges, v6: Ranges, default: str, only_v4: bool) -> None:
        """Build the tables from (first, last) to value. only_v4: whether other addresses count as none (`ranges`)."""
        self._default = _encode(default)
        self._tables[4] = RangeTable({key: _encode(value) for key, value in v4.items()})
        if only_v4:
            number = NO_ADDRESS[1]
            self._tables[6] = RangeTable({(0, (1 << 128) - 1): self._tables[4].find(number) or self._default})
        else:
            self._tables[6] = RangeTable({key: _encode(value) for key, value in v6.items()})

    def find(self, text: bytes, forwarded: bytes | None = None) -> bytes:
        """Return the value for an address and an X-Forwarded-For."""
        address = parse_ip(text)
        if address is not None and forwarded and self.proxies:
            address = self._behind(address, forwarded)
        family, number = address or NO_ADDRESS
        found = self._tables[family].find(number)
        return self._default if found is None else found

    def _behind(self, address: NumberedAddress, forwarded: bytes) -> NumberedAddress:
        """Return the address that trusted proxies forwarded (nginx: ngx_http_get_forwarded_addr_internal)."""
        while any(proxy.holds(address) for proxy in self.proxies):
            forwarded = forwarded.rstrip(b" ,")
            begin = max(forwarded.rfind(b" "), forwarded.rfind(b",")) + 1
            told = parse_ip_and_port(forwarded[begin:])
            if told is None:
                break
            address = told
            forwarded = forwarded[:begin]
            if not self.is_recursive or not begin:
                break
        return address

    def read(self, request: Request) -> bytes:
        """Return the value of the variable."""
        text = request.client.remote_addr if self.source is None else self.source.evaluate(request)
        forwarded = request.fields.get(b"x-forwarded-for") if self.proxies else None
        # Clients must not fill the memory with long texts.
        is_short = not forwarded and len(text) <= LONGEST_ADDRESS
        result = self.look_up(text) if is_short else self.find(text, forwarded)
        if request.trace is not None:
            request.trace.step(self, told("geo", self.name, text, result), value=shown(result))
        return result

    def varies(self) -> int:
        """How long the value holds: as long as the source; the client's address and X-Forwarded-For hold for a block."""
        return self.source.varies if self.source is not None else BLOCK

    def __repr__(self) -> str:
        return f"<geo {self.source.text + ' ' if self.source else ''}${self.name}>"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
