"""Large responses in slices (nginx: src/http/modules/ngx_http_slice_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.directives.http_core import memory


class SliceDirectives:
    """Large responses in slices."""

    slice: int = directive(
        memory,
        HTTP | SERVER | LOCATION,
        default="0",
        doc="The size of the parts in which an upstream is asked for a response, by `$slice_range`; 0: all at once.",
    )
