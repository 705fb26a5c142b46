"""proxy_pass and the like with variables: the target is computed for each request (proxy.md §1.1 rule 1, §1.2).

Whatever the target is, the request is then proxied by the same code as any other: it is led to a copy of its location with that
target. There is one copy for each host and port, and no more than MAX_TARGETS.
"""

from __future__ import annotations

import re
from typing import Final

from worker.logs import log_request, shown
from worker.pages import error_response
from worker.resolver.resolver import CannotResolve
from worker.services import Exchange, Services
from worker.upstream.answers import AnswerPlan
from worker.upstream.make_passing import load_openssl, make_passing
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from worker.upstream.protocols import protocol_of
from wproxy.address import Address
from wproxy.config.model import Location
from wproxy.directives.pass_to import NO_PORT
from wproxy.directives.proxy import ProxyTarget
from wproxy.directives.resolver import NameServers
from wproxy.dns import TIMED_OUT
from wproxy.http import Request, Response
from wproxy.route import Answer

# Clients may choose the target if a configuration lets them: then the table starts over instead of growing.
MAX_TARGETS: Final = 256
# Bytes that cannot be in a request line.
_UNFIT: Final = re.compile(rb"[\x00-\x20\x7f]").search
_UNFIT_REASON: Final = 'invalid URI in "%s": a decoded value ($uri, a capture) may hold a space, $request_uri has it as %%20'


def proxying_to_variable(settings: ModuleSettings, services: Services, answer_plan: AnswerPlan, exchange: Exchange) -> Answer:
    """Return the handler of a location whose proxy_pass, or the like, has variables."""
    location = settings.location
    if settings.get("target").may_be_secure:
        load_openssl()
    evaluate = settings.get("target").template.evaluate
    read_target = protocol_of(settings).read_target
    passings: dict[tuple[str, int, bool, bool], Passing] = {}
    # Those of them that are not in the configuration: the name servers and the address to look up.
    named: dict[tuple[str, int, bool, bool], tuple[NameServers | None, Address]] = {}

    async def answer(request: Request) -> Response:
        url = evaluate(request)
        try:
            target = read_target(url.decode("utf-8", "surrogateescape"))
        except ValueError as error:
            reason = _UNFIT_REASON % shown(url) if _UNFIT(url) else f'{error} in "{shown(url)}"'
            log_request(request, "error", reason, code="conf_value")
            request.ends("conf_value", reason)
            return error_response(request, 500, request.route.server_token)
        assert target.address is not None
        # The path of a unix socket keeps its case.
        host = target.address.host if target.address.is_unix else target.address.host.lower()
        key = (host, target.address.port, target.has_port, target.is_secure)
        passing = passings.get(key)
        asked = named.get(key)
        if passing is None or (asked is not None and services.discovery.known_group(*asked) is not passing.group):
            try:
                group = find_group(services, target)
                if group is None and target.address.port == NO_PORT:
                    reason = f'no port in upstream "{shown(url)}"'
                    log_request(request, "error", reason, code="conf_value")
                    request.ends("conf_value", reason)
                    return error_response(request, 500, request.route.server_token)
                if group is None:
                    address = Address(host, target.address.port)
                    asked = (None if address.is_numeric else location.resolver, address)
                    group = await group_of_target(services, location, address)
            except CannotResolve as failure:
                limit = location.described("resolver_timeout") if failure.code == TIMED_OUT else ""
                code = "dns_timeout" if failure.code == TIMED_OUT else "dns_failed"
                request.ends(code, f"resolver: {failure}{limit}")
                log_request(request, "error", str(failure), code=code)
                return error_response(request, 502, request.route.server_token)
            if passing is None or passing.group is not group:
                if len(passings) >= MAX_TARGETS:
                    passings.clear()
                    named.clear()
                copy = copy_for(settings, target)
                passing = passings[key] = make_passing(ModuleSettings(copy, settings.module), group, answer_plan, services)
                passing.head_plan.is_stable = False
            if asked is not None:
                named[key] = asked
        request.location = passing.location
        # A configured URI is sent as it is, with nothing added; without a path the client's URI is sent.
        request.upstream_uri = target.uri_part
        return await exchange(passing, request)

    return answer


class NoResolver(CannotResolve):
    """No name server is configured."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 0)
        self.args = (f"no resolver defined to resolve {name}",)


async def group_of_target(services: Services, location: Location, address: Address) -> Group:
    """Return the group of a target that only a request names; a name is looked up first. Raises CannotResolve.

    No other worker knows of a numeric address, and as the only one of its group it never rests.
    """
    if address.is_numeric:
        group = services.discovery.group_at(address)
    elif location.resolver is None:
        raise NoResolver(address.host)
    else:
        group = await services.discovery.group_of(location.resolver, address, location.resolver_timeout)
    assert isinstance(group, Group)
    return group


def find_group(services: Services, target: ProxyTarget) -> Group | None:
    """Return the group of an evaluated target that the configuration names: an upstream block, or that of another proxy_pass."""
    address = target.address
    assert address is not None
    if not target.has_port:
        host = address.host.lower()
        for upstream in services.configuration.upstreams:
            if not upstream.implicit and upstream.name.lower() == host:
                return services.groups[upstream.name]
    return services.groups.get(str(address))


def copy_for(settings: ModuleSettings, target: ProxyTarget) -> Location:
    """Return a copy of the location that passes requests to that target."""
    location, module, target = settings.location, settings.module, target._replace(uri_part=b"")
    copy = Location(dict(vars(location)), location.written)
    copy.pass_to(module, target, None)
    setattr(copy, f"{module}_pass", target)
    return copy
