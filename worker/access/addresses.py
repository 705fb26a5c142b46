"""allow and deny: access by address (nginx: ngx_http_access_module.c).

The first rule that matches decides; if none does, there is no decision. nginx keeps rules for IPv4, IPv6 and unix sockets apart:
a client is checked against the rules of its own kind, in their order, and `all` is of every kind. An IPv4 address that came in
through an IPv6 socket (::ffff:192.0.2.1) counts as IPv4, unless there is no IPv4 rule at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from worker.access import DECLINED, FORBIDDEN, Decide, Declined
from worker.limits.check import Check
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Services
from wproxy.config.model import Location
from wproxy.directives.access import AddressRule
from wproxy.http import Request, Response
from wproxy.maps.addresses import NumberedAddress, parse_ip

_MAPPED = 0xFFFF << 32
# How many addresses each set of rules remembers its decision for, and how many sets are shared by locations that have the same.
_REMEMBERED = 1024
_SHARED = 256


def by_address(location: Location, services: Services) -> Decide | None:
    """Return the decision of a location's rules; None if it has none."""
    if not location.access_rules:
        return None
    rules = AddressRules(location)
    is_told = location.satisfy == "all"  # otherwise other modules take part, and the refusal is logged at the end

    async def decide(request: Request) -> Response | Declined | None:
        allows = rules.allows(request.client.remote_addr)
        if allows is None:
            return DECLINED
        return None if allows else rules.refuse(request, is_told)

    return decide


class AddressRules(Check):
    """The rules of a location. As a check they alone decide about access to it. allows: see `allowed`."""

    def __init__(self, location: Location) -> None:
        self.allows = decisions_of(location.access_rules)
        self._cause = f"client: {FORBIDDEN}{place_of(location)}"

    def check(self, request: Request) -> Response | None:
        """Refuse a client that the first matching rule denies."""
        return self.refuse(request, True) if self.allows(request.client.remote_addr) is False else None

    def refuse(self, request: Request, is_told: bool) -> Response:
        """Return a refusal. is_told: whether this is the last word, so that it is logged."""
        if is_told:
            request.ends("deny_rule", self._cause)
            log_request(request, "error", FORBIDDEN, code="deny_rule")
        return error_response(request, 403, request.route.server_token)


def rules_alone(location: Location, rules: Sequence[object]) -> Check | None:
    """Return the check of a location whose only access rules are addresses; None for another one. rules: all that it has."""
    return AddressRules(location) if len(rules) == 1 and location.access_rules else None


@lru_cache(_SHARED)
def decisions_of(rules: tuple[AddressRule, ...]) -> Callable[[bytes], bool | None]:
    """Return a function that decides about an address and remembers it: the same one for equal rules, such as inherited ones."""
    has_ipv4 = any(rule.is_for_all or (rule.network is not None and rule.network.family == 4) for rule in rules)
    return lru_cache(_REMEMBERED)(partial(allowed, rules, has_ipv4=has_ipv4))


def allowed(rules: tuple[AddressRule, ...], address: bytes, *, has_ipv4: bool = True) -> bool | None:
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
