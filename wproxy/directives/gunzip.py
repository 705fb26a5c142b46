"""Decompression for clients that do not accept gzip (nginx: src/http/modules/ngx_http_gunzip_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import flag


class GunzipDirectives:
    """Responses that arrive compressed and are sent uncompressed."""

    gunzip: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether gzip responses are decompressed for clients that do not accept them.",
    )
