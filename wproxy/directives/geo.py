"""`geo` (nginx: src/http/modules/ngx_http_geo_module.c)."""

from __future__ import annotations

from bisect import bisect_right

from wproxy.config.registry import GEO, HTTP, OWN_GATHER, directive
from wproxy.config.tree import Node, Position, Problem
from wproxy.maps.addresses import Network, parse_ipv4, parse_network
from wproxy.maps.entries import read_entries
from wproxy.maps.geo import Geo
from wproxy.template import compile_variable
from wproxy.variables import Variable, active_namespace, variable_name

Range = tuple[int, int]
EVERYTHING = {4: Network(4, 0, 0), 6: Network(6, 0, 0)}


class GeoBlock:
    """A geo while its entries are read. warnings: settings that are allowed but probably not meant."""

    def __init__(self, geo: Geo) -> None:
        self.geo = geo
        self.has_ranges = False
        self.default: str | None = None
        self.networks: dict[Network, str] = {}
        self.warnings: list[Problem] = []
        # Ranges side by side, in order.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._values: list[str] = []
        self._position: Position | None = None

    def read(self, entry: Node) -> None:
        """Read one entry. Raises ValueError with nginx's words."""
        self._position = entry.position
        words = (entry.name, *entry.arguments)
        if len(words) == 1 and words[0] in ("ranges", "proxy_recursive", "volatile"):
            self._set(words[0])
        elif len(words) != 2:
            raise ValueError("invalid number of the geo parameters")
        elif words[0] == "proxy":
            self.geo.proxies.append(self._network(words[1]))
        elif self.has_ranges:
            self._read_range(*words)
        else:
            self._read_network(*words)

    def _set(self, word: str) -> None:
        if word == "proxy_recursive":
            self.geo.is_recursive = True
        elif word == "volatile":
            self.geo.volatile = True
        elif self.networks:
            raise ValueError('the "ranges" directive must be the first directive inside "geo" block')
        else:
            self.has_ranges = True

    def warn(self, text: str) -> None:
        """Note a warning of nginx's."""
        self.warnings.append(Problem(text, self._position))

    def _network(self, text: str) -> Network:
        network, has_low_bits = parse_network(text)
        if has_low_bits:
            self.warn(f"low address bits of {text} are meaningless")
        return network

    # Networks: the longest prefix counts.

    def _read_network(self, first: str, second: str) -> None:
        if first == "delete":
            if self.networks.pop(self._network(second), None) is None:
                self.warn(f'no network "{second}" to delete')
            return
        networks = EVERYTHING.values() if first == "default" else [self._network(first)]
        for network in networks:
            old = self.networks.get(network)
            if old is not None:
                self.warn(f'duplicate network "{first}", value: "{second}", old value: "{old}"')
            self.networks[network] = second

    # Ranges: a later one may lie within an earlier one.

    def _read_range(self, first: str, second: str) -> None:
        if first == "default":
            if self.default is not None:
                self.warn(f'duplicate default geo range value: "{second}", old value: "{self.default}"')
            self.default = second
        elif first == "delete":
            self._delete_range(parse_range(second), second)
        else:
            self._add_range(parse_range(first), first, second)

    def _add_range(self, added: Range, text: str, value: str) -> None:
        index = bisect_right(self._starts, added[1]) - 1
        around = self._ends[index] if index >= 0 else -1
        if around < added[0]:
            self._put(index + 1, added, value)
            return
        there = (self._starts[index], around)
        if there == added:
            self.warn(f'duplicate range "{text}", value: "{value}", old value: "{self._values[index]}"')
            self._values[index] = value
            return
        if there[0] > added[0] or there[1] < added[1]:
            raise ValueError(f'range "{text}" overlaps "{_shown(there[0])}-{_shown(there[1])}"')
        # The rest of the earlier range is kept in one or two pieces.
        old = self._take(index)
        if added[1] < there[1]:
            self._put(index, (added[1] + 1, there[1]), old)
        self._put(index, added, value)
        if there[0] < added[0]:
            self._put(index, (there[0], added[0] - 1), old)

    def _delete_range(self, deleted: Range, text: str) -> None:
        index = bisect_right(self._starts, deleted[0]) - 1
        if index >= 0 and (self._starts[index], self._ends[index]) == deleted:
            self._take(index)
        else:
            self.warn(f'no address range "{text}" to delete')

    def _put(self, index: int, added: Range, value: str) -> None:
        self._starts.insert(index, added[0])
        self._ends.insert(index, added[1])
        self._values.insert(index, value)

    def _take(self, index: int) -> str:
        del self._starts[index], self._ends[index]
        return self._values.pop(index)

    def seal(self) -> None:
        """Give the geo its tables."""
        v4 = dict(zip(zip(self._starts, self._ends, strict=True), self._values, strict=True))
        v6: dict[Range, str] = {}
        for network, value in self.networks.items():
            (v4 if network.family == 4 else v6)[network.first, network.last] = value
        self.geo.seal(v4, v6, self.default or "", self.has_ranges)


def parse_range(text: str) -> Range:
    """Read `10.0.0.0-10.0.0.255`. Raises ValueError."""
    first, dash, last = text.partition("-")
    numbers = parse_ipv4(first.encode("utf-8", "surrogateescape")), parse_ipv4(last.encode("utf-8", "surrogateescape"))
    # 255.255.255.255 is what nginx's parser returns when there is no address.
    if not dash or None in numbers or 0xFFFFFFFF in numbers or numbers[0] > numbers[1]:  # type: ignore[operator]
        raise ValueError(f'invalid range "{text}"')
    return numbers  # type: ignore[return-value]


def _shown(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def geo_block(*words: str | list[Node]) -> GeoBlock:
    """Read `geo [$SOURCE] $NAME { NETWORK VALUE; ... }` and declare the variable.

    Raises ConfigurationError with the entries that are wrong.
    """
    *names, entries = words
    assert isinstance(entries, list)
    texts = [str(name) for name in names]
    lower = variable_name(texts[-1])
    source = None
    if len(texts) == 2:
        source = compile_variable(texts[0])
    block = GeoBlock(Geo(lower, source))
    read_entries(entries, block.read)
    block.seal()
    active_namespace().declare(lower, Variable(block.geo.read, block.geo.varies), block.geo.volatile)
    return block


class GeoDirectives:
    """Variables from addresses."""

    geo: tuple[GeoBlock, ...] = directive(
        geo_block,
        HTTP,
        arity=(1, 2),
        inherit=OWN_GATHER,
        block=GEO,
        named=True,
        doc="A variable whose value depends on an address: networks or `ranges`, `default`, `proxy`.",
    )
