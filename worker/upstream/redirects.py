"""Location and Refresh of an upstream, rewritten for the client (proxy_redirect; proxy.md §3.2).

nginx: ngx_http_proxy_rewrite_redirect and the handlers around it in ngx_http_proxy_module.c. The rules of a location are computed
at load; the first one that matches a value replaces it.
"""

from __future__ import annotations

from collections.abc import Callable

from wproxy.config.model import Location
from wproxy.directives.proxy_headers import Replacement
from wproxy.http import Request
from wproxy.template import checked

# Returns another value for one that it matches, None for any other. Raises ClientError(500) for a value that would break the
# head.
Rewrite = Callable[[Request, bytes], "bytes | None"]


def redirect_rules(location: Location) -> tuple[Rewrite, ...]:
    """Return the rules of proxy_redirect in a location, those of `default` if it is not set."""
    rules = location.proxy_redirect or (Replacement("default"),)
    if any(rule.word == "off" for rule in rules):
        return ()
    return tuple(made for made in (_rule(location, rule) for rule in rules) if made is not None)


def _rule(location: Location, rule: Replacement) -> Rewrite | None:
    if rule.word == "default":
        target = location.proxy_target
        if target is None or target.template is not None:
            return None
        url = target.text.encode("utf-8", "surrogateescape")
        if not target.uri_part:
            return _replacing_constant_prefix(url + b"/", b"/")
        return _replacing_constant_prefix(url, b"" if location.modifier in ("~", "~*", "@") else location.prefix)
    return replacing(rule)


def _replacing_constant_prefix(pattern: bytes, replacement: bytes) -> Rewrite:
    return lambda request, value: replacement + value[len(pattern) :] if value.startswith(pattern) else None


def replacing(rule: Replacement) -> Rewrite:
    """Return a rule for a prefix, which keeps the rest of the value, or for a regex, which replaces the whole value."""
    regex, text, by = rule.regex, rule.text, rule.by
    assert by is not None

    def replace_match(request: Request, value: bytes) -> bytes | None:
        assert regex is not None
        match = regex.search(value)
        if match is None:
            return None
        request.capture(match)
        return checked(by.evaluate(request))

    def replace_prefix(request: Request, value: bytes) -> bytes | None:
        assert text is not None
        pattern = text.evaluate(request)
        return checked(by.evaluate(request)) + value[len(pattern) :] if value.startswith(pattern) else None

    return replace_match if regex is not None else replace_prefix


def rewritten(rules: tuple[Rewrite, ...], request: Request, value: bytes) -> bytes | None:
    """Return the value as rewritten by the first rule that matches; None when none does."""
    for rule in rules:
        found = rule(request, value)
        if found is not None:
            return found
    return None


def rewritten_refresh(rules: tuple[Rewrite, ...], request: Request, value: bytes) -> bytes | None:
    """Rewrite a Refresh in the same way: the part after `url=`."""
    place = value.lower().find(b"url=")
    if place < 0:
        return None
    found = rewritten(rules, request, value[place + 4 :])
    return None if found is None else value[: place + 4] + found
