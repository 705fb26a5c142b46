"""proxy_pass with variables: the target is worked out for each request (proxy.md §1.1 rule 1, §1.2).

Whatever the target turns out to be, the request is then proxied by the same code as any other: it is led to a copy of its
location that names that target. There is one copy for each host and port, and not more than MAX_TARGETS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING

from worker.content.pages import error_response
from worker.logs import log_request, shown
from worker.upstream.peers import Group
from worker.upstream.protocols.http import HeadPlan
from wproxy.config.model import Location, Peer, Upstream
from wproxy.directives.proxy import ProxyTarget, parse_target
from wproxy.http import Request, Response
from wproxy.shared import TOTAL_BYTES, SharedWords

if TYPE_CHECKING:
    from worker.run import Worker

# Clients may choose the target where a configuration lets them: then the table starts over instead of growing.
MAX_TARGETS = 256


def proxying_to_variable(location: Location, worker: Worker) -> Callable[[Request], Awaitable[Response]]:
    """The handler of a location whose proxy_pass has variables."""
    assert location.proxy_target is not None and location.proxy_target.template is not None
    evaluate = location.proxy_target.template.evaluate
    copies: dict[tuple[str, int, bool], Location] = {}

    async def answer(request: Request) -> Response:
        url = evaluate(request)
        try:
            target = parse_target(url.decode("utf-8", "surrogateescape"))
        except ValueError:
            log_request(request, "error", f'invalid URL prefix in "{shown(url)}"')
            return error_response(request, 500, location.server_token)
        if target.is_secure:
            log_request(request, "error", f'"https://" in "{shown(url)}": TLS to upstreams is not supported yet')
            return error_response(request, 500, location.server_token)
        assert target.address is not None
        key = (target.address.host.lower(), target.address.port, target.has_port)
        copy = copies.get(key)
        if copy is None:
            group = find_group(worker, target)
            if group is None:
                log_request(request, "error", f"no resolver defined to resolve {target.address.host}")
                return error_response(request, 502, location.server_token)
            if len(copies) >= MAX_TARGETS:
                copies.clear()
            copy = copies[key] = copy_for(location, target, group)
        request.location = copy
        # What stands in the configuration is sent as it is, nothing added; without a path the client's URI is.
        request.upstream_uri = target.uri_part
        return await worker.exchange(request)

    return answer


@cache
def _own_words() -> SharedWords:
    """Memory for the health of peers that nobody else knows."""
    return SharedWords(memoryview(bytearray(TOTAL_BYTES)).cast("Q"))


def find_group(worker: Worker, target: ProxyTarget) -> Group | None:
    """The group of an evaluated target: an upstream block, one of another proxy_pass, or a bare IP address; else None."""
    address = target.address
    assert address is not None
    if not target.has_port:
        host = address.host.lower()
        for upstream in worker.configuration.upstreams:
            if not upstream.implicit and upstream.name.lower() == host:
                return worker.groups[upstream.name]
    name = str(address)
    known = worker.groups.get(name)
    if known is not None or not address.is_numeric:
        return known
    upstream = Upstream({}, {})
    upstream.name = name
    upstream.position = worker.configuration.servers[0].position
    upstream.implicit = True
    upstream.peers = (Peer(name, address, name),)
    # No other worker knows of this peer, and as the only one of its group it never rests.
    group = Group(upstream, _own_words(), worker.loop.clock, worker.error_log.write)
    worker.groups[name] = group
    return group


def copy_for(location: Location, target: ProxyTarget, group: Group) -> Location:
    """The location, proxying to that target."""
    copy = Location(dict(vars(location)), location.written)
    copy.proxy_target = copy.proxy_pass = target._replace(uri_part=b"")
    copy.group = group
    copy.head_plan = HeadPlan(copy)
    copy.head_plan.is_stable = False
    return copy
