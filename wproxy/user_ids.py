"""userid: a cookie by which a client is known again (nginx: ngx_http_userid_filter_module.c, subrequests.md §7.1).

An identifier is four numbers of 32 bits: who gave it (a number, or our address), when, the process, and a sequence. Version 2
writes them in the network's order, version 1 in the processor's, and both in base64: 22 characters and two of filling, of which
a mark may replace the first. Variables show the four numbers as little-endian ones, whatever the version.
"""

from __future__ import annotations

import binascii
import ipaddress
import os
import struct
from typing import TYPE_CHECKING

from wproxy.variables.header import find_cookie

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.http import Request
    from wproxy.template import Template

_LENGTH = 22  # characters of base64 for 16 bytes, without the filling
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FIRST = {"v1": 1, "on": 0x03030302}
_STEP = 0x100
_LIMIT = 1 << 32


class UserId:
    """What is known about one request: the identifier that came, its cookie, and the one that is sent."""

    __slots__ = ("came", "cookie", "sent")

    def __init__(self) -> None:
        self.came: bytes | None = None
        self.cookie = b""
        self.sent: bytes | None = None


class UserIds:
    """The settings of one location. gives: whether clients without an identifier get one; if not, those that come are seen."""

    def __init__(self, location: Location, reset: Template) -> None:
        self.mode = location.userid
        self.gives = location.userid in ("v1", "on")
        self.name = location.userid_name.encode("utf-8", "surrogateescape")
        self.mark = location.userid_mark.encode("ascii")
        self.service = location.userid_service
        self.reset = reset

    def of(self, request: Request) -> tuple[UserId, list[tuple[str, str]]]:
        """Return what is known about a request, and what there is to say about it: (level, text)."""
        owner = request.main or request
        known: UserId | None = owner.user_id
        said: list[tuple[str, str]] = []
        if known is None:
            known = owner.user_id = UserId()
            self._read(known, request, said)
            if self.gives:
                self._give(known, request, said)
        return known, said

    def _read(self, known: UserId, request: Request, said: list[tuple[str, str]]) -> None:
        """Read the cookie, if there is one."""
        text = request.fields.get(b"cookie")
        cookie = find_cookie(text, self.name.lower()) if text else None
        if cookie is None:
            return
        shown = (text or b"").decode("latin-1")
        if len(cookie) < _LENGTH:
            said.append(("error", f'client sent too short userid cookie "{shown}"'))
        elif cookie[:_LENGTH].translate(None, _BASE64):
            said.append(("error", f'client sent invalid userid cookie "{shown}"'))
        else:
            known.cookie = cookie
            known.came = binascii.a2b_base64(cookie[:_LENGTH] + b"==")

    def _give(self, known: UserId, request: Request, said: list[tuple[str, str]]) -> None:
        """Choose what is sent: a new identifier, the same with our mark, or nothing."""
        came = known.came
        if came is not None and any(came[12:]):
            reset = self.reset.evaluate(request)
            if reset in (b"", b"0"):
                if self.mark and known.cookie[_LENGTH : _LENGTH + 2] != self.mark + b"=":
                    known.sent = came
                return
            if reset == b"log":
                said.append(("notice", f'userid cookie "{self.shown(came).decode("latin-1")}" was reset'))
        known.sent = self._new(request)

    def _new(self, request: Request) -> bytes:
        """Return an identifier that no client has."""
        clock = request.client.clock
        begun, sequence = _next(self.mode, clock.wall)
        second = int(clock.wall) & 0xFFFFFFFF
        if self.mode == "v1":
            return struct.pack("<4I", self.service or 0, second, begun, sequence)
        who = struct.pack(">I", self.service) if self.service is not None else _own_address(request)
        return who + struct.pack(">3I", second, begun, sequence)

    def shown(self, identifier: bytes) -> bytes:
        """Return an identifier as variables have it."""
        return self.name + b"=%08X%08X%08X%08X" % struct.unpack("<4I", identifier)

    def cookie_value(self, identifier: bytes) -> bytes:
        """Return an identifier as the cookie has it, with our mark."""
        text = binascii.b2a_base64(identifier, newline=False)
        return text[:_LENGTH] + self.mark + text[_LENGTH + 1 :] if self.mark else text


def _own_address(request: Request) -> bytes:
    """Return four bytes of the address that the client connected to."""
    host = request.client.server_address.host
    try:
        return ipaddress.ip_address(host).packed[-4:]
    except ValueError:
        return bytes(4)  # a unix socket


# The sequences of this process, and the number that it has chosen for itself.
_process: dict[str, int] = {}


def _next(mode: str, wall: float) -> tuple[int, int]:
    """Return the number of this process, and the next of its sequence."""
    pid = os.getpid()
    if _process.get("pid") != pid:
        _process.clear()
        _process.update(_FIRST, pid=pid, begun=(int(wall % 1 * 1e6) // 20 << 16 | pid) & 0xFFFFFFFF)
    sequence = _process[mode]
    following = (sequence + _STEP) % _LIMIT
    _process[mode] = following if following >= _FIRST[mode] else _FIRST[mode]
    return _process["begun"], sequence
