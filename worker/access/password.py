"""auth_basic: users with passwords in a file (nginx: ngx_http_auth_basic_module.c).

Checking a password takes milliseconds: that is its purpose. So it is done in a thread, the reading of the file too, and a
password that was right is remembered for a while. What is remembered depends on the file itself (not only its name: it may have
been replaced), the user and the password, of which only a digest with a secret of this worker is kept.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable

from worker.access import DECLINED, Decide, Declined
from worker.access.remembered import Identity, RightPasswords
from worker.logs import log_end, log_request
from worker.logs.formats import shown
from worker.pages import error_response
from worker.services import Services
from wproxy.config.model import Location
from wproxy.http import Request, Response
from wproxy.passwords import Uncheckable, hash_of_user, is_password_of
from wproxy.template import Template

_NOT_GIVEN = "no user/password was provided for basic authentication"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# Outcomes of a check.
_RIGHT, _UNKNOWN, _WRONG = "right", "unknown", "wrong"


class Unreadable(OSError):
    """A password file that was opened and cannot be read."""


def by_password(location: Location, services: Services) -> Decide | None:
    """Return the decision of a location's auth_basic; None if it has none, or no file."""
    realm, file = location.auth_basic, location.auth_basic_user_file
    if realm is None or file is None:
        return None
    threads = services.thread_pools["default"]
    path_of = _path_of(file, services)
    remembered = services.right_passwords

    async def decide(request: Request) -> Response | Declined | None:
        shown_realm = realm.evaluate(request)
        if shown_realm == b"off":
            return DECLINED
        given = credentials(request)
        if given is None:
            log_request(request, "info", _NOT_GIVEN)  # the question is not an end: browsers ask again with an answer
            return challenge(request, shown_realm)
        user, password = given
        path = path_of(request)
        now = request.client.clock.now
        try:
            key = remembered.key(path, _identity(os.stat(path)), user, password)
            if remembered.has(key, now):
                return None
            outcome, key = await threads.run(lambda: _check(path, user, password, remembered))
        except Uncheckable as error:
            log_end(request, "crit", f'user "{shown(user)}": {error.strerror}', "file")
            return error_response(request, 500, request.route.server_token)
        except Unreadable as error:
            log_end(request, "crit", f'pread() "{path}" failed ({error.errno}: {error.strerror})', "file")
            return error_response(request, 500, request.route.server_token)
        except OSError as error:
            level, status = ("error", 403) if isinstance(error, FileNotFoundError) else ("crit", 500)
            log_end(request, level, f'open() "{path}" failed ({error.errno}: {error.strerror})', "file")
            return error_response(request, status, request.route.server_token)
        if outcome is _RIGHT:
            remembered.add(key, now)
            return None
        if outcome is _UNKNOWN:
            log_end(request, "error", f'user "{shown(user)}" was not found in "{path}"', "deny_auth")
        else:
            log_end(request, "error", f'user "{shown(user)}": password mismatch', "deny_auth")
        return challenge(request, shown_realm)

    return decide


def challenge(request: Request, realm: bytes) -> Response:
    """Return a 401 that asks for a user and a password."""
    lines = ((b"WWW-Authenticate", b'Basic realm="' + realm + b'"'),)
    return error_response(request, 401, request.route.server_token, lines=lines)


def credentials(request: Request) -> tuple[bytes, bytes] | None:
    """Return user and password of a request; None if it gives none that can be read."""
    value = request.fields.get(b"authorization")
    if value is None or value[:6].lower() != b"basic ":
        return None
    text = value[6:].lstrip(b" ").partition(b"=")[0]  # nginx ignores whatever follows
    if len(text) % 4 == 1 or text.translate(None, _BASE64):
        return None
    user, colon, password = binascii.a2b_base64(text + b"=" * (-len(text) % 4)).partition(b":")
    return (user, password.partition(b"\0")[0]) if colon and user else None


def _path_of(file: Template, services: Services) -> Callable[[Request], str]:
    """Return a function that returns the absolute path of the password file."""
    absolute = services.configuration.path_beside
    if file.constant is not None:
        path = absolute(os.fsdecode(file.constant))
        return lambda request: path
    return lambda request: absolute(os.fsdecode(file.evaluate(request).partition(b"\0")[0]))


def _identity(stat: os.stat_result) -> Identity:
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _check(path: str, user: bytes, password: bytes, remembered: RightPasswords) -> tuple[str, bytes]:
    """Check a password, in a thread; return the outcome, and the key of a right one. Raises OSError."""
    fileno = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        identity = _identity(os.fstat(fileno))
        hashed = hash_of_user(os.pread(fileno, identity[3], 0), user)
    except OSError as error:
        raise Unreadable(error.errno, error.strerror) from None
    finally:
        os.close(fileno)
    if hashed is None:
        return _UNKNOWN, b""
    if not is_password_of(password, hashed):
        return _WRONG, b""
    return _RIGHT, remembered.key(path, identity, user, password)
