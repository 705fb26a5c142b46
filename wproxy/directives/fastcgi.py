"""FastCGI to upstreams such as PHP-FPM (nginx: src/http/modules/ngx_http_fastcgi_module.c; protocols.md §4)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, SERVER, directive
from wproxy.directives.like_proxy import WHOLE, like_proxy
from wproxy.directives.pass_to import CGI_FAILURES, Parameter, parameter, split_path_info, target
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.values import flag, text
from wproxy.regex import Regex

LEVELS = HTTP | SERVER | LOCATION


@like_proxy("fastcgi", WHOLE, CGI_FAILURES)
class FastcgiDirectives:
    """Where requests go as FastCGI, and the parameters that describe them."""

    fastcgi_pass: ProxyTarget | None = directive(
        target(),
        LOCATION | LOCATION_IF,
        inherit=OWN,
        doc="Where requests go: HOST:PORT, unix:PATH or the name of an upstream.",
    )
    fastcgi_param: tuple[Parameter, ...] = directive(
        parameter,
        LEVELS,
        arity=(2, 3),
        inherit=GATHER,
        named=True,
        doc="A parameter of the request: NAME VALUE [if_not_empty]. HTTP_NAME replaces the client's field of that name.",
    )
    fastcgi_index: str | None = directive(
        text, LEVELS, doc="The file that $fastcgi_script_name names for a URI that ends in `/`."
    )
    fastcgi_split_path_info: Regex | None = directive(
        split_path_info,
        LEVELS,
        doc="A regex with two captures, $fastcgi_script_name and $fastcgi_path_info: it splits a URI into the name of the script "
        "and the rest.",
    )
    fastcgi_keep_conn: bool = directive(
        flag, LEVELS, default="off", doc="Whether the upstream is asked to keep its connection open for further requests."
    )
    fastcgi_catch_stderr: tuple[str, ...] = directive(
        text,
        LEVELS,
        inherit=GATHER,
        doc="A text that makes an answer invalid if the upstream writes it as an error message before the head of its answer.",
    )
