"""SCGI to upstreams (nginx: src/http/modules/ngx_http_scgi_module.c; protocols.md §5)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, SERVER, directive
from wproxy.directives.like_proxy import WHOLE, like_proxy
from wproxy.directives.pass_to import CGI_FAILURES, Parameter, parameter, target
from wproxy.directives.proxy import ProxyTarget

LEVELS = HTTP | SERVER | LOCATION


@like_proxy("scgi", WHOLE, CGI_FAILURES)
class ScgiDirectives:
    """Where requests go as SCGI, and the headers that describe them."""

    scgi_pass: ProxyTarget | None = directive(
        target(),
        LOCATION | LOCATION_IF,
        inherit=OWN,
        doc="Where requests go: HOST:PORT, unix:PATH or the name of an upstream.",
    )
    scgi_param: tuple[Parameter, ...] = directive(
        parameter,
        LEVELS,
        arity=(2, 3),
        inherit=GATHER,
        named=True,
        doc="A header of the request: NAME VALUE [if_not_empty]. HTTP_NAME replaces the client's field of that name.",
    )
