"""allow and deny: access by address (nginx: ngx_http_access_module.c).

The first rule that matches decides; if none does, there is no decision. nginx keeps rules for IPv4, IPv6 and unix sockets apart:
a client is checked against the rules of its own kind, in their order, and `all` is of every kind. An IPv4 address that came in
through an IPv6 socket (::ffff:192.0.2.1) counts as IPv4, unless there is no IPv4 rule at all.
"""

from __future__ import annotations

from worker.access import DECLINED, FORBIDDEN, Decide, Declined
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Services
from wproxy.config.model import Location
from wproxy.directives.access import AddressRule
from wproxy.http import Request, Response
from wproxy.maps.addresses import NumberedAddress, parse_ip

_MAPPED = 0xFFFF << 32


def by_address(location: Location, services: Services) -> Decide | None:
    """Return the decision of a location's rules; None if it has none."""
    rules = location.access_rules
    if not rules:
        return None
    has_ipv4 = any(rule.is_for_all or (rule.network is not None and rule.network.family == 4) for rule in rules)
    is_told = location.satisfy == "all"  # otherwise other modules take part, and the refusal is logged at the end
    cause = f"client: {FORBIDDEN}{place_of(location)}"

    async def decide(request: Request) -> Response | Declined | None:
        allows = allowed(rules, request.client.remote_addr, has_ipv4)
        if allows is None:
            return DECLINED
        if allows:
            return None
        if is_told:
            request.ends("deny_rule", cause)
            log_request(request, "error", FORBIDDEN, code="deny_rule")
        return error_response(request, 403, request.route.server_token)

    return decide


def allowed(rules: tuple[AddressRule, ...], address: bytes, has_ipv4: bool = True) -> bool | None:
    """Whether the first matching rule allows the client; None when none matches. address: `unix:` for a unix socket."""
    number = parse_ip(address)
    if number is not None and number[0] == 4 and b":" in address and not has_ipv4:
        number = (6, _MAPPED | number[1])
    for rule in rules:
        if rule.is_for_all or fits(rule, number):
            return rule.allows
    return None


def fits(rule: AddressRule, number: NumberedAddress | None) -> bool:
    """Whether a rule matches a client. number: None for a unix socket."""
    if rule.network is None or number is None:
        return rule.network is None and number is None
    return rule.network.holds(number)


def place_of(location: Location) -> str:
    """Return the position of the last rule, for messages."""
    name = max((name for name in ("allow", "deny") if name in location.origins), key=lambda name: location.origins[name])
    return f" ({location.origin(name)})"
