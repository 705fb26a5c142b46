"""auth_jwt: who shows a token that one of our keys has signed may come in (nginx Plus: ngx_http_auth_jwt_module).

Keys and signatures that were good are remembered (`worker.access.token_keys`), so most requests cost a look at a file's date.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.access import DECLINED, Decide, Declined, Refuse
from worker.logs import log_request
from worker.pages import error_response
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.template import Template
from wproxy.tokens import Token, parse_token, text_of_token


def by_token(location: Location, services: Services) -> Decide | None:
    """Return the decision of a location's auth_jwt; None if it has none."""
    plan = location.auth_jwt
    if plan is None:
        return None
    from worker.access.token_keys import KeyFiles, NoKeys  # with cryptography, only where it is needed

    files = KeyFiles()
    paths_of = [_path_of(file, services) for file in location.auth_jwt_key_file]
    leeway, unseen_for = location.auth_jwt_leeway, location.auth_jwt_key_cache
    needed = location.auth_jwt_require

    async def decide(request: Request) -> Response | Declined | None:
        realm = plan.realm.evaluate(request)
        if realm == b"off":
            return DECLINED
        text = text_of_token(plan, request)
        if not text:
            return refused(request, realm, "no JWT was provided", is_wrong=False)
        token = parse_token(text)
        if token is None:
            return refused(request, realm, "what was provided is no JWT")
        now = request.client.clock.now
        has_signed = False
        for path_of in paths_of:
            path = path_of(request)
            try:
                keys, is_new = files.get(path, now, unseen_for)
            except NoKeys as error:
                log_request(request, "error", f'the keys in "{path}" cannot be used: {error}')
                return error_response(request, 500, request.route.server_token)
            except OSError as error:
                log_request(request, "crit", f'open() "{path}" failed ({error.errno}: {error.strerror})')
                return error_response(request, 500, request.route.server_token)
            for reason in keys.refused if is_new else ():
                log_request(request, "error", f'"{path}": {reason}')
            if keys.has_signed(token):
                has_signed = True
                break
        if not has_signed:
            return refused(request, realm, "none of the keys has signed the JWT")
        reason = out_of_time(token, request.client.clock.wall, leeway)
        if reason:
            return refused(request, realm, reason)
        for rule in needed:
            for value in rule.values:
                if value.evaluate(request) in (b"", b"0"):
                    log_request(request, "info", f'auth_jwt_require: "{value.text}" is empty or 0', code="deny_auth")
                    if rule.status == 401:
                        return challenge(request, realm, is_wrong=True)
                    request.ends("deny_auth", f"client: auth_jwt_require refused it{location.described('auth_jwt_require')}")
                    return error_response(request, rule.status, request.route.server_token)
        (request.main or request).believes_token = True
        return None

    return decide


def disbelieving(refuse: Refuse) -> Refuse:
    """Return the access handler of a location with auth_jwt, whose token says nothing any more unless it has been believed.

    Whoever comes in by address or password would otherwise be whoever their own token says.
    """

    async def refuse_or_disbelieve(request: Request) -> Response | None:
        owner = request.main or request
        owner.believes_token = None
        refusal = await refuse(request)
        if refusal is None and not owner.believes_token:
            owner.believes_token = False
        return refusal

    return refuse_or_disbelieve


def out_of_time(token: Token, now: float, leeway: float) -> str:
    """Return why a token is not valid at this time; "" when it is."""
    expires, begins = token.claims.get("exp"), token.claims.get("nbf")
    for claim, moment in (("exp", expires), ("nbf", begins)):
        if moment is not None and (isinstance(moment, bool) or not isinstance(moment, int | float)):
            return f'the claim "{claim}" of the JWT is not a number'
    if expires is not None and not now < expires + leeway:
        return "the JWT has expired"
    if begins is not None and not now >= begins - leeway:
        return "the JWT is not valid yet"
    return ""


def refused(request: Request, realm: bytes, reason: str, is_wrong: bool = True) -> Response:
    """Refuse a request, and log the reason."""
    log_request(request, "info", reason, code="deny_auth")
    return challenge(request, realm, is_wrong)


def challenge(request: Request, realm: bytes, is_wrong: bool) -> Response:
    """Return a 401 that asks for a token. is_wrong: whether there is one (RFC 6750, section 3)."""
    value = b'Bearer realm="' + realm + b'"' + (b',error="invalid_token"' if is_wrong else b"")
    request.ends("deny_auth", "client: auth_jwt refused it")
    return error_response(request, 401, request.route.server_token, lines=((b"WWW-Authenticate", value),))


def _path_of(file: Template, services: Services) -> Callable[[Request], str]:
    """Return a function that returns the absolute path of a file of keys."""
    absolute = services.configuration.path_beside
    if file.constant is not None:
        path = absolute(os.fsdecode(file.constant))
        return lambda request: path
    return lambda request: absolute(os.fsdecode(file.evaluate(request).partition(b"\0")[0]))
