"""Set-Cookie of an upstream, rewritten for the client: proxy_cookie_domain, proxy_cookie_path and proxy_cookie_flags.

nginx: ngx_http_proxy_rewrite_cookie in ngx_http_proxy_module.c; proxy.md §3.2. An unchanged cookie stays byte for byte as it
came; any other is put together anew.

    set-cookie-string = cookie-pair *( ";" SP cookie-av )        (RFC 6265, 4.1.1)
"""

from __future__ import annotations

from collections.abc import Callable

from worker.logs import log_request, shown
from worker.upstream.redirects import Rewrite, replacing, rewritten
from wproxy.config.model import Location
from wproxy.directives.proxy_headers import COOKIE_FLAGS, CookieFlags, Replacement
from wproxy.http import Request
from wproxy.template import checked

# A name and the text after its "=", None if there is no "=".
Attribute = tuple[bytes, "bytes | None"]

FLAG_NAMES = {b"secure": b"Secure", b"httponly": b"HttpOnly", b"samesite": b"SameSite"}


def cookie_rewriter(location: Location) -> Callable[[Request, bytes], bytes] | None:
    """Return the function that rewrites a cookie; None if no directive asks for it. The function raises ClientError(500)."""
    domains = _rules(location.proxy_cookie_domain, replacing_domain)
    paths = _rules(location.proxy_cookie_path, replacing)
    flags = () if any(line.word == "off" for line in location.proxy_cookie_flags) else location.proxy_cookie_flags
    if not (domains or paths or flags):
        return None
    by_name = {b"domain": domains, b"path": paths}

    def rewrite(request: Request, cookie: bytes) -> bytes:
        attributes = parse_cookie(cookie)
        if attributes[0][1] is None:
            return cookie
        is_changed = False
        for index, (name, value) in enumerate(attributes[1:], 1):
            rules = by_name.get(name.lower(), ())
            found = rewritten(rules, request, value) if rules and value is not None else None
            if found is not None:
                attributes[index] = (name, found)
                is_changed = True
        wanted = wanted_flags(flags, request, attributes[0][0])
        if wanted:
            attributes = with_flags(attributes, wanted)
            is_changed = True
        return join_cookie(attributes) if is_changed else cookie

    return rewrite


def _rules(lines: tuple[Replacement, ...], make: Callable[[Replacement], Rewrite]) -> tuple[Rewrite, ...]:
    return () if any(line.word == "off" for line in lines) else tuple(map(make, lines))


def replacing_domain(rule: Replacement) -> Rewrite:
    """Return a rule for a domain in any case, with or without a leading dot, which stays; a regex matches the whole value."""
    text, by = rule.text, rule.by
    if text is None:
        return replacing(rule)
    assert by is not None

    def replace_domain(request: Request, value: bytes) -> bytes | None:
        dot = b"." if value.startswith(b".") else b""
        if text.evaluate(request).lower() != value[len(dot) :].lower():
            return None
        return dot + checked(by.evaluate(request))

    return replace_domain


def parse_cookie(cookie: bytes) -> list[Attribute]:
    """Return the pair and the attributes, without blanks around names and values."""
    attributes: list[Attribute] = []
    for part in cookie.split(b";"):
        name, equals, value = part.partition(b"=")
        attributes.append((name.strip(b" \t"), value.strip(b" \t") if equals else None))
    return attributes


def join_cookie(attributes: list[Attribute]) -> bytes:
    """Join attributes into a cookie; the reverse of `parse_cookie`."""
    return b"; ".join([name if value is None else name + b"=" + value for name, value in attributes])


def wanted_flags(lines: tuple[CookieFlags, ...], request: Request, name: bytes) -> dict[bytes, bytes | None]:
    """Return the flags in the first line for a cookie of that name: values by attribute, None to remove it."""
    for line in lines:
        if line.regex is not None:
            match = line.regex.search(name)
            if match is None:
                continue
            request.capture(match)
        elif line.name is None or line.name.evaluate(request).lower() != name.lower():
            continue
        wanted: dict[bytes, bytes | None] = {}
        for template in line.flags:
            flag = template.evaluate(request)
            if not flag:
                continue
            if flag.lower() not in COOKIE_FLAGS:
                log_request(request, "error", f'invalid proxy_cookie_flags flag "{shown(flag)}"')
                continue
            attribute, value = COOKIE_FLAGS[flag.lower()]
            wanted[attribute] = value
        return wanted
    return {}


def with_flags(attributes: list[Attribute], wanted: dict[bytes, bytes | None]) -> list[Attribute]:
    """Return the cookie with the wanted flags; missing ones are added at the end."""
    missing = {name: value for name, value in wanted.items() if value is not None}
    kept = attributes[:1]
    for name, value in attributes[1:]:
        lower = name.lower()
        if lower in wanted:
            asked = wanted[lower]
            if asked is None:
                continue
            missing.pop(lower, None)
            if asked and (value or b"").lower() != asked.lower():
                name, value = FLAG_NAMES[lower], asked
        kept.append((name, value))
    for lower, spelled in FLAG_NAMES.items():
        if lower in missing:
            kept.append((spelled, missing[lower] or None))
    return kept
