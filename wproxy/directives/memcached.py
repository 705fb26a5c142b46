"""Responses from memcached (nginx: src/http/modules/ngx_http_memcached_module.c; subrequests.md §7.7)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, LOCATION_IF, OWN, SERVER, directive
from wproxy.directives.like_proxy import CONNECTIONS, like_proxy
from wproxy.directives.pass_to import MEMCACHED_FAILURES, memcached_target
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.values import number

LEVELS = HTTP | SERVER | LOCATION


@like_proxy("memcached", CONNECTIONS, MEMCACHED_FAILURES)
class MemcachedDirectives:
    """Where values are looked up.

    No directive changes these: parts of values are served, a body of the client does not go there, and nothing is read ahead.
    """

    memcached_force_ranges = True
    memcached_pass_request_body = False
    memcached_buffering = False

    memcached_pass: ProxyTarget | None = directive(
        memcached_target,
        LOCATION | LOCATION_IF,
        inherit=OWN,
        doc="The server that has the value of $memcached_key: HOST:PORT, unix:PATH or the name of an upstream.",
    )
    memcached_gzip_flag: int = directive(
        number(), LEVELS, default="0", doc="The bits of a value's flags that say it is compressed with gzip; 0 is none."
    )
