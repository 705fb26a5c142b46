"""The uwsgi protocol to upstreams (nginx: src/http/modules/ngx_http_uwsgi_module.c; protocols.md §5)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, SERVER, directive
from wproxy.directives.like_proxy import TLS, WHOLE, like_proxy
from wproxy.directives.pass_to import CGI_FAILURES, Parameter, parameter, target
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.values import number, text

LEVELS = HTTP | SERVER | LOCATION


@like_proxy("uwsgi", (*WHOLE, *TLS), CGI_FAILURES)
class UwsgiDirectives:
    """Where requests go as uwsgi packets, and the variables that describe them."""

    uwsgi_pass: ProxyTarget | None = directive(
        target("uwsgi", "suwsgi"),
        LOCATION | LOCATION_IF,
        inherit=OWN,
        doc="Where requests go: [uwsgi:// or suwsgi://] and HOST:PORT, unix:PATH or the name of an upstream.",
    )
    uwsgi_param: tuple[Parameter, ...] = directive(
        parameter,
        LEVELS,
        arity=(2, 3),
        inherit=GATHER,
        named=True,
        doc="A variable of the request: NAME VALUE [if_not_empty]. HTTP_NAME replaces the client's field of that name.",
    )
    uwsgi_modifier1: int = directive(number(0, 255), LEVELS, default="0", doc="The first modifier: 0 is WSGI, 5 is PSGI.")
    uwsgi_modifier2: int = directive(number(0, 255), LEVELS, default="0", doc="The second modifier.")
    uwsgi_string: str | None = directive(text, LEVELS, doc="Bytes after the variables, for modifiers that evaluate a text.")
