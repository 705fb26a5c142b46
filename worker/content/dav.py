"""dav_methods: files that clients write, remove, copy and move (subrequests.md §7.8; nginx: ngx_http_dav_module.c).

A change that has begun is completed even if its client leaves. As in nginx, the Destination of COPY and MOVE is mapped by the
root or alias of the location of the source, whatever location it has itself.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any
from urllib.parse import unquote_to_bytes

from worker.content import dav_files
from worker.content.accelerated import is_unsafe
from worker.content.open_files import NOT_FOUND
from worker.logs import log_end, log_request
from worker.loop import FAIR_SHARE, Event, Loop, give_way
from worker.pages import error_response, respond
from worker.services import Services
from worker.temporary_files import DiskTrouble
from worker.upstream.outgoing import read_into
from wproxy.config.model import Location
from wproxy.dates import parse_http_date
from wproxy.files import Unmappable, shown_path
from wproxy.http import Request, Response
from wproxy.route import Handler
from wproxy.uri import escape_path

METHODS = {"put": b"PUT", "delete": b"DELETE", "mkcol": b"MKCOL", "copy": b"COPY", "move": b"MOVE"}
# The value of Depth that stands for everything below.
DEEP = -1
Deed = Callable[[Request, bytes], Coroutine[Any, Any, Response]]


class Refusal(Exception):
    """A request that cannot be carried out. level: that of the line in the error log; no text, no line."""

    def __init__(self, status: int, text: str = "", level: str = "error") -> None:
        super().__init__(text)
        self.status = status
        self.level = level


def changing_files(location: Location, services: Services) -> Handler | None:
    """Return the handler of a location with dav_methods; None for any other."""
    methods = frozenset(METHODS[word] for word in location.dav_methods or () if word in METHODS)
    if not methods:
        return None
    dav = Dav(location, services.loop)

    async def change_files(request: Request) -> Response | None:
        if request.method not in methods or request.main is not None or request.is_rehearsed:
            return None
        try:
            path = location.files.path(request)
            return await dav.deeds[request.method](request, path)
        except Unmappable as refusal:
            log_request(request, refusal.level, refusal.reason)
            return error_response(request, refusal.status, request.route.server_token)
        except Refusal as refusal:
            if str(refusal):
                log_end(request, refusal.level, str(refusal), "file")
            return error_response(request, refusal.status, request.route.server_token)

    return change_files


class Dav:
    """The changes that one location makes. deeds: by method."""

    def __init__(self, location: Location, loop: Loop) -> None:
        self._location = location
        self._loop = loop
        self._mode: int = location.dav_access
        self.deeds: dict[bytes, Deed] = {
            b"PUT": self.put,
            b"DELETE": self.delete,
            b"MKCOL": self.mkcol,
            b"COPY": self.copy_or_move,
            b"MOVE": self.copy_or_move,
        }

    async def put(self, request: Request, path: bytes) -> Response:
        """Write the body into a file. Raises Refusal, ClientError, ClientGone."""
        if request.path.endswith(b"/"):
            raise Refusal(409, "cannot PUT to a collection")
        if request.fields.get(b"content-range") is not None:
            raise Refusal(501, "PUT with range is unsupported")
        if request.body is None and request.fields.content_length < 0:
            raise Refusal(500, "PUT request body is unavailable")
        try:
            exists = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            exists = None
        if exists:
            raise Refusal(409, f'"{shown_path(path)}" could not be created (21: Is a directory)')
        date = request.fields.get(b"date")
        try:
            if self._location.create_full_put_path:
                dav_files.make_parents(path, self._mode)
            file = dav_files.begin_file(path)
            try:
                moved = 0
                while request.body is not None and (count := await read_into(file, request.body)):
                    moved += count
                    if moved >= FAIR_SHARE:
                        moved = 0
                        await give_way()
                file.place(os.fsdecode(path), self._mode, None if date is None else parse_http_date(date))
            finally:
                file.close()
        except OSError as error:
            raise refusal_of(error, "open()", path, 500) from None
        except DiskTrouble as trouble:
            raise refusal_of(trouble.reason, "open()", path, 500) from None
        return created(request) if exists is None else done(request, 204)

    async def delete(self, request: Request, path: bytes) -> Response:
        """Remove a file, or a directory with all that is in it. Raises Refusal."""
        refuse_body(request, "DELETE with body is unsupported")
        depth_of_uri, least = request.path.rstrip(b"/").count(b"/"), self._location.min_delete_depth
        if least and depth_of_uri < least:
            raise Refusal(409, f"insufficient URI depth:{depth_of_uri} to DELETE")
        try:
            facts = os.lstat(path)
        except OSError as error:
            raise refusal_of(error, "DELETE", path, 409 if error.errno == errno.ENOTDIR else 404) from None
        if stat.S_ISDIR(facts.st_mode):
            if not request.path.endswith(b"/"):
                raise Refusal(409, f'DELETE "{shown_path(path)}" failed (21: Is a directory)')
            if depth_of(request, DEEP) != DEEP:
                raise Refusal(400, '"Depth" header must be infinity')
        elif depth_of(request, 0) not in (0, DEEP):
            raise Refusal(400, '"Depth" header must be 0 or infinity')
        await self._complete(dav_files.delete(path), path)
        return done(request, 204)

    async def mkcol(self, request: Request, path: bytes) -> Response:
        """Make a directory. Raises Refusal."""
        refuse_body(request, "MKCOL with body is unsupported")
        if not request.path.endswith(b"/"):
            raise Refusal(409, "MKCOL can create a collection only")
        try:
            dav_files.make_directory(path.rstrip(b"/"), self._mode)
        except OSError as error:
            raise refusal_of(error, "mkdir()", path, 409) from None
        return created(request)

    async def copy_or_move(self, request: Request, path: bytes) -> Response:
        """Copy a file or a directory, or give it another name. Raises Refusal."""
        refuse_body(request, "COPY and MOVE with body are unsupported")
        moves = request.method == b"MOVE"
        destination = destination_of(request)
        if destination.endswith(b"/") != request.path.endswith(b"/"):
            text = f'both URI "{shown_path(request.path)}" and "Destination" URI "{shown_path(destination)}" should be either'
            raise Refusal(409, f"{text} collections or non-collections")
        depth = depth_of(request, DEEP)
        if depth != DEEP and (moves or depth != 0):
            raise Refusal(400, f'"Depth" header must be {"" if moves else "0 or "}infinity')
        overwrites = may_overwrite(request)
        target = self._target(request, destination)
        below = path.rstrip(b"/") + b"/"
        if (target.rstrip(b"/") + b"/").startswith(below):
            raise Refusal(403, f'"{shown_path(path)}" cannot be put into itself')
        exists = None
        try:
            exists = stat.S_ISDIR(os.lstat(target).st_mode)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise refusal_of(error, "lstat()", target, 404) from None
        if exists and not destination.endswith(b"/"):
            raise Refusal(409, f'"{shown_path(request.path)}" could not replace the collection "{shown_path(destination)}"')
        if exists is not None and not overwrites:
            raise Refusal(412, f'"{shown_path(target)}" could not be replaced (17: File exists)')
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            raise refusal_of(error, "stat()", path, 404) from None
        if is_directory and not request.path.endswith(b"/"):
            raise Refusal(400, f'"{shown_path(request.path)}" is collection')

        async def act() -> None:
            if exists is not None and (is_directory or exists):
                await dav_files.delete(target)
            if moves:
                dav_files.make_parents(target, self._mode)
                await dav_files.move(path, target)
            elif is_directory:
                await dav_files.copy_tree(path.rstrip(b"/"), target.rstrip(b"/"))  # all of it, whatever Depth says
            else:
                await dav_files.copy_file(path, target)

        await self._complete(act(), target, 500)
        return done(request, 201) if is_directory else done(request, 204)

    def _target(self, request: Request, destination: bytes) -> bytes:
        """Return the path of another URI in this location. Raises Unmappable."""
        other = copy(request)
        other.path = destination
        return self._location.files.path(other)

    async def _complete(self, work: Coroutine[Any, Any, None], path: bytes, not_found: int = 404) -> None:
        """Do work to its end, even if the client leaves. Raises Refusal."""
        over = Event(self._loop)
        failure: list[OSError] = []

        async def run() -> None:
            try:
                await work
            except DiskTrouble as trouble:
                failure.append(trouble.reason)
            except OSError as error:
                failure.append(error)
            finally:
                over.set()

        self._loop.spawn(run(), f"changes of {path!r}")
        await over.wait()
        if failure:
            raise refusal_of(failure[0], "changing", path, not_found)


# Policy.


def refusal_of(error: OSError, call: str, path: bytes, not_found: int) -> Refusal:
    """Return the answer to a failure of the system (nginx: ngx_http_dav_error)."""
    text = f'{call} "{shown_path(path)}" failed ({error.errno}: {error.strerror})'
    if error.errno in NOT_FOUND:
        return Refusal(not_found, text)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refusal(403, text)
    if error.errno == errno.EEXIST:
        return Refusal(405, text)
    return Refusal(507 if error.errno == errno.ENOSPC else 500, text, "crit")


def refuse_body(request: Request, text: str) -> None:
    """Refuse a request with a body. Raises Refusal."""
    if request.fields.content_length > 0 or request.fields.chunked:
        raise Refusal(415, text)


def depth_of(request: Request, otherwise: int) -> int:
    """Return the value of Depth; `otherwise` without one. Raises Refusal."""
    value = request.fields.get(b"depth")
    if value is None:
        return otherwise
    if value == b"infinity":
        return DEEP
    if value in (b"0", b"1"):
        return int(value)
    raise Refusal(400, f'client sent invalid "Depth" header: "{value.decode("latin-1")}"')


def may_overwrite(request: Request) -> bool:
    """Return the value of Overwrite. Raises Refusal."""
    value = (request.fields.get(b"overwrite") or b"T").upper()
    if value not in (b"T", b"F"):
        raise Refusal(400, f'client sent invalid "Overwrite" header: "{value.decode("latin-1")}"')
    return value == b"T"


# What does not count in a Destination, as it does not in nginx.
_PORT = re.compile(rb":[0-9]*\Z")


def destination_of(request: Request) -> bytes:
    """Return the path of Destination, decoded. Raises Refusal."""
    value = request.fields.get(b"destination")
    if value is None:
        raise Refusal(400, 'client sent no "Destination" header')
    shown = value.decode("latin-1")
    if not value.startswith(b"/"):
        scheme, found, rest = value.partition(b"://")
        host, slash, path = rest.partition(b"/")
        if not found or scheme.lower() not in (b"http", b"https") or not slash or not request.host:
            raise Refusal(400, f'client sent invalid "Destination" header: "{shown}"')
        if _PORT.sub(b"", host).lower() != request.host.lower():
            text = f'"Destination" URI "{shown}" is handled by different repository than the source URI'
            raise Refusal(400, text)
        value = b"/" + path
    decoded = unquote_to_bytes(value.partition(b"?")[0])
    if is_unsafe(decoded):
        raise Refusal(400, f'client sent invalid "Destination" header: "{shown}"')
    return decoded


def created(request: Request) -> Response:
    """Return 201 with the place of what was made."""
    return respond(request, 201, b"", None, request.route.server_token, escape_path(request.path))


def done(request: Request, status: int) -> Response:
    """Return a status alone."""
    return respond(request, status, b"", None, request.route.server_token)
