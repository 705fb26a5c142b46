"""What is done with the body of a request (nginx: ngx_http_core_module.c, ngx_http_proxy_module.c; proxy.md §2).

client_max_body_size, client_body_buffer_size and client_body_timeout stand in http_core.py: every request with a body needs them.
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
    """How the body of a request is kept and passed on."""

    client_body_temp_path: TemporaryPath | None = directive(
        temporary_path,
        LEVELS,
        arity=(1, 4),
        doc="The directory for bodies larger than client_body_buffer_size; without it they go to nameless files in /var/tmp.",
    )
    client_body_in_file_only: str = directive(
        word((IN_MEMORY, KEPT, CLEAN)),
        LEVELS,
        default="off",
        doc="Whether every body goes into a file with a name, which is then kept (on) or removed with the request (clean).",
    )
    lingering_close: str = directive(
        word(("off", "on", "always")),
        LEVELS,
        default="on",
        doc="Whether to read and ignore what a client still sends before its connection is closed.",
    )
    proxy_request_buffering: bool = directive(
        flag, LEVELS, default="on", doc="Whether a body is read whole before an upstream is asked, so that it may be sent again."
    )
    proxy_pass_request_body: bool = directive(flag, LEVELS, default="on", doc="Whether the body of the request goes upstream.")
    proxy_set_body: Template | None = directive(
        compile_template, LEVELS, doc="What goes upstream in place of the body of the request."
    )
    proxy_method: Template | None = directive(
        compile_template, LEVELS, doc="The method that goes upstream in place of the client's."
    )
