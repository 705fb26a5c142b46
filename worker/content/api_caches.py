"""The part of the API about caches; the shapes are those of nginx's commercial ngx_http_api_module, as far as that goes.

GET     /9/http/caches                  all zones: size and limit, and the responses by status
GET     /9/http/caches/NAME             one
DELETE  /9/http/caches/NAME             have its counts begin anew
GET     /9/http/caches/NAME/entries     its stored responses; ?prefix=KEY: those whose key begins like this, ?most=N
POST    /9/http/caches/NAME/purge       {"key": "KEY"} deletes a response, {"key": "PREFIX*"} all whose key begins like this
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from worker.cache.cache import Cache
from worker.cache.entry import Entry
from worker.content.api_request import NO_PATH, Outcome, needs_writing, only_get, read_json
from wproxy.cache.key import cache_key
from wproxy.edits.parameters import Refused
from wproxy.http import Request

# How many entries are listed unless a request says otherwise, and at most.
USUAL, MOST = 1000, 100_000
_ENCODING = ("utf-8", "surrogateescape")


async def answer_caches(request: Request, caches: dict[str, Cache], method: str, rest: list[str], may_write: bool) -> Outcome:
    """Answer a path below /9/http/caches. Raises Refused."""
    if request.is_rehearsed:
        return 200, {}  # `wproxy explain`: only a running worker knows them
    if not rest:
        return only_get(method, {name: cache.status() for name, cache in caches.items()})
    cache = caches.get(rest[0])
    if cache is None:
        raise Refused(404, f'cache "{rest[0]}" not found', "CacheNotFound")
    match rest[1:]:
        case [] if method == "DELETE":
            needs_writing(request, method, ("DELETE",), may_write)
            cache.reset()
            return 204, None
        case []:
            return only_get(method, cache.status())
        case ["entries"]:
            only_get(method, None)
            prefix, most = asked(request.args or b"")
            return 200, [entry_json(entry) for entry in await cache.entries(prefix, most)]
        case ["purge"]:
            needs_writing(request, method, ("POST",), may_write)
            return 200, {"purged": await purge(cache, await read_json(request))}
    raise NO_PATH


def asked(args: bytes) -> tuple[bytes, int]:
    """Return the prefix and the number of entries that a query asks for. Raises Refused."""
    given = parse_qs(args.decode("latin-1"), keep_blank_values=True, encoding=_ENCODING[0], errors=_ENCODING[1])
    most = given.get("most", [str(USUAL)])[-1]
    if not (most.isascii() and most.isdigit() and len(most) < 10):
        raise Refused(400, f'invalid number "{most}"', "CacheBadNumber")
    return given.get("prefix", [""])[-1].encode(*_ENCODING), min(int(most), MOST)


async def purge(cache: Cache, given: Any) -> int:
    """Delete what a request names; return the number of responses. Raises Refused."""
    key = given.get("key") if isinstance(given, dict) else None
    if not isinstance(key, str) or set(given) != {"key"}:
        raise Refused(400, 'expected {"key": "KEY"} or {"key": "PREFIX*"}', "CacheBadKey")
    try:
        if key.endswith("*"):
            return await cache.purge_matching(key[:-1].encode(*_ENCODING))
        return int(await cache.purge(cache_key(key.encode(*_ENCODING))))
    except UnicodeEncodeError:
        raise Refused(400, "the key has characters that cannot be in one", "CacheBadKey") from None
    except OSError as error:
        raise Refused(500, f"{error.filename}: {error.strerror}", "CacheNotWritable") from None


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return a stored response as JSON; times are unix seconds."""
    header = entry.header
    return {
        "key": entry.key.decode(*_ENCODING),
        "file": entry.digest.hex(),
        "status": status_of(entry.head),
        "size": entry.size,
        "body": entry.length - header.body_start,
        "valid": header.valid_sec,
        "used": round(entry.used, 3),
        "etag": header.etag.decode("latin-1"),
        "vary": header.vary.decode("latin-1"),
    }


def status_of(head: bytes) -> int | None:
    """Return the status in the head of an HTTP upstream; other protocols have it elsewhere."""
    status = head[9:12]
    return int(status) if head.startswith(b"HTTP/") and status.isdigit() else None
