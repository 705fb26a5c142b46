"""proxy_cache_purge: a request that removes what is stored (a directive of nginx's commercial edition).

A key that ends in `*` stands for all keys that begin like it. What is removed is the file and its entry, at once.
"""

from __future__ import annotations

from worker.cache.cache import Cache
from worker.logs import log_request, shown
from worker.pages import error_response
from wproxy.cache.key import CacheKey
from wproxy.http import Request, Response, ResponseFields


async def purge(cache: Cache, key: CacheKey, request: Request) -> Response:
    """Remove the responses of a key: 204, or 404 if there is none."""
    text = key.text
    if text.endswith(b"*"):
        count = await cache.purge_matching(text[:-1])
    else:
        count = int(await cache.purge(key))
    log_request(request, "info", f'{count} cached responses for "{shown(text)}" were removed')
    token = request.route.server_token
    return Response(ResponseFields(204, server=token), bodiless=True) if count else error_response(request, 404, token)
