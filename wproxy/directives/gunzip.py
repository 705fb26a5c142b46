"""Decompression for clients that cannot (nginx: src/http/modules/ngx_http_gunzip_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import flag


class GunzipDirectives:
    """What comes compressed and goes out plain."""

    gunzip: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether responses that come in gzip are inflated for clients that do not take it.",
    )
