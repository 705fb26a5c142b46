"""gRPC to upstreams (nginx: src/http/modules/ngx_http_grpc_module.c; protocols.md §3)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, SERVER, directive
from wproxy.directives.like_proxy import CONNECTIONS, FIELDS, SOCKETS, TLS, like_proxy
from wproxy.directives.pass_to import GRPC_FAILURES, target
from wproxy.directives.proxy import ProxyTarget, header
from wproxy.directives.values import flag, number
from wproxy.template import Template

LEVELS = HTTP | SERVER | LOCATION


@like_proxy("grpc", (*CONNECTIONS, *SOCKETS, *FIELDS, *TLS), GRPC_FAILURES)
class GrpcDirectives:
    """Where calls go, and how.

    No directive changes these: both directions go as they come, and the fields after an answer are passed on.
    """

    grpc_buffering = False
    grpc_request_buffering = False
    grpc_pass_trailers = True

    grpc_pass: ProxyTarget | None = directive(
        target("grpc", "grpcs"),
        LOCATION | LOCATION_IF,
        inherit=OWN,
        doc="Where calls go: [grpc:// or grpcs://] and HOST:PORT, unix:PATH or the name of an upstream.",
    )
    grpc_set_header: tuple[tuple[bytes, Template], ...] = directive(
        header,
        LEVELS,
        arity=2,
        inherit=GATHER,
        named=True,
        doc="A request field to set for the upstream; an empty value removes it.",
    )
    grpc_max_streams: int = directive(
        number(1), LEVELS, default="1", doc="The most calls at once on one connection to an upstream."
    )
    grpc_errors: bool = directive(
        flag, LEVELS, default="off", doc="Whether errors of ours are sent to gRPC clients as a status of gRPC, not as a page."
    )
