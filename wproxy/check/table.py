"""All rules, by theme."""

from __future__ import annotations

from wproxy.check.certificates import CERTIFICATE_RULES
from wproxy.check.cgi import CGI_RULES
from wproxy.check.connections import CONNECTION_RULES
from wproxy.check.control import CONTROL_RULES
from wproxy.check.dead_ends import DEAD_END_RULES
from wproxy.check.finding import Rule
from wproxy.check.headers import HEADER_RULES
from wproxy.check.injection import INJECTION_RULES
from wproxy.check.locations import LOCATION_RULES
from wproxy.check.proxy_uri import PROXY_URI_RULES
from wproxy.check.servers import SERVER_RULES
from wproxy.check.subrequests import SUBREQUEST_RULES
from wproxy.check.upstreams import UPSTREAM_RULES

# In the order of the generated page.
THEMES: dict[str, list[Rule]] = {
    "proxy_pass and the URI": PROXY_URI_RULES,
    "Fields": HEADER_RULES,
    "Connections to upstreams": CONNECTION_RULES,
    "Upstreams": UPSTREAM_RULES,
    "Locations": LOCATION_RULES,
    "FastCGI and PHP": CGI_RULES,
    "Unreachable configuration": DEAD_END_RULES,
    "Requests of our own": SUBREQUEST_RULES,
    "Text that a client controls": INJECTION_RULES,
    "TLS": CERTIFICATE_RULES,
    "Control": CONTROL_RULES,
    "Servers": SERVER_RULES,
}

RULES: dict[str, Rule] = {rule.id: rule for rules in THEMES.values() for rule in rules}
