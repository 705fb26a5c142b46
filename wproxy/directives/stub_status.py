"""Counts of connections and requests (nginx: src/http/modules/ngx_http_stub_status_module.c)."""

from __future__ import annotations

from wproxy.config.registry import LOCATION, OWN_GATHER, SERVER, directive


def stub_status(*words: str) -> bool:
    """Read `stub_status [anything]`: the argument had a meaning before nginx 1.7.5."""
    return True


class StubStatusDirectives:
    """In a server or a location."""

    stub_status: tuple[bool, ...] = directive(
        stub_status,
        SERVER | LOCATION,
        arity=(0, 1),
        inherit=OWN_GATHER,
        doc="Answer with the counts of connections and requests of the whole server: limit it with allow and deny.",
    )
