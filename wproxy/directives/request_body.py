"""The treatment of a request body (nginx: ngx_http_core_module.c, ngx_http_proxy_module.c; proxy.md §2).

client_max_body_size, client_body_buffer_size and client_body_timeout are in http_core.py: every request with a body needs them.
"""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.temporary_path import TemporaryPath, temporary_path
from wproxy.directives.values import flag, word
from wproxy.template import Template, compile_template

LEVELS = HTTP | SERVER | LOCATION

# The modes of client_body_in_file_only.
IN_MEMORY = "off"
KEPT = "on"
CLEAN = "clean"


class RequestBodyDirectives:
    """How a request body is kept and passed on."""

    client_body_temp_path: TemporaryPath | None = directive(
        temporary_path,
        LEVELS,
        arity=(1, 4),
        doc="The directory for bodies larger than client_body_buffer_size; without it nameless files in /var/tmp are used.",
    )
    client_body_in_file_only: str = directive(
        word((IN_MEMORY, KEPT, CLEAN)),
        LEVELS,
        default="off",
        doc="Whether every body is stored in a named file, which is then kept (on) or removed with the request (clean).",
    )
    lingering_close: str = directive(
        word(("off", "on", "always")),
        LEVELS,
        default="on",
        doc="Whether to read and ignore data that a client still sends before its connection is closed.",
    )
    proxy_request_buffering: bool = directive(
        flag,
        LEVELS,
        default="on",
        doc="Whether a body is read whole before an upstream gets the request, so that it can be sent again.",
    )
    proxy_pass_request_body: bool = directive(flag, LEVELS, default="on", doc="Whether the request body is sent upstream.")
    proxy_set_body: Template | None = directive(
        compile_template, LEVELS, doc="The body to send upstream instead of the request's."
    )
    proxy_method: Template | None = directive(compile_template, LEVELS, doc="The method to use upstream instead of the client's.")
