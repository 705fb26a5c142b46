"""Variables that say whether a link, or the page that it is on, is one of ours, and whether a client has come before."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.secure_links import expiry, linked
from wproxy.variables.registry import REQUEST, complain, variable


@variable("invalid_referer", REQUEST)
def invalid_referer(request: Request) -> bytes:
    test = request.location.referer_test
    return b"" if test is None or test.is_passed(request) else b"1"


@variable("secure_link", REQUEST)
def secure_link(request: Request) -> bytes | None:
    return linked(request)


@variable("secure_link_expires", REQUEST)
def secure_link_expires(request: Request) -> bytes | None:
    return expiry(request)


@variable("uid_got", REQUEST)
def uid_got(request: Request) -> bytes | None:
    ids = request.location.user_ids
    if ids is None:
        return None
    known, said = ids.of(request)
    for level, text in said:
        complain(request, level, text)
    return ids.shown(known.came) if known.came is not None and any(known.came[12:]) else None


@variable("uid_set", REQUEST)
def uid_set(request: Request) -> bytes | None:
    ids = request.location.user_ids
    if ids is None or not ids.gives:
        return None
    known, said = ids.of(request)
    for level, text in said:
        complain(request, level, text)
    return ids.shown(known.sent) if known.sent is not None else None
