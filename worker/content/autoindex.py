"""`autoindex`: the list of a directory (routing.md §5.7; nginx: ngx_http_autoindex_module.c).

Large directories take time: names are read and examined in batches, and lines are written in batches, and between two of them
other tasks have their turn. A short list goes out whole, with its head.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from worker.content.open_files import FORBIDDEN, NOT_FOUND, failed
from worker.logs import log_end, log_request
from worker.loop import give_way
from worker.outlet import NOTHING, Pieces
from worker.pages import error_response, without_validators
from wproxy.config.model import Location
from wproxy.files import Unmappable, shown_path
from wproxy.http import DAYS, MONTHS, Request, Response, ResponseFields

# The number of entries that are examined, or written, before other tasks have their turn: about a millisecond's work.
BATCH = 250

NAME_WIDTH = 50
_NAME = itemgetter(0)  # of an Entry

_TYPES = {
    "html": b"text/html",
    "json": b"application/json",
    "jsonp": b"application/javascript",
    "xml": b"text/xml; charset=utf-8",
}
_CALLBACK = re.compile(rb"[A-Za-z0-9_.]+").fullmatch


class Entry(NamedTuple):
    """One name in a directory. modified: unix seconds."""

    name: bytes
    is_directory: bool
    is_file: bool
    modified: int
    size: int


def listing(location: Location) -> Callable[[Request], Awaitable[Response | None]] | None:
    """Return the handler that lists a directory, None if `autoindex` is off."""
    if not location.autoindex:
        return None

    async def list_directory(request: Request) -> Response | None:
        if not request.path.endswith(b"/") or request.method not in (b"GET", b"HEAD"):
            return None
        try:
            path = location.files.path(request)
        except Unmappable:
            return None  # the next handler gives the reason
        if len(path) > 1:
            path = path[: path.rfind(b"/")] or b"/"
        kind, callback = location.autoindex_format, b""
        if kind == "jsonp":
            found = callback_of(request)
            if found is None:
                return error_response(request, 400, request.route.server_token)
            kind, callback = ("jsonp", found) if found else ("json", b"")
        try:
            entries = await read_directory(request, path)
        except OSError as error:
            return refuse(request, path, error)
        if entries is None:
            return error_response(request, 500, request.route.server_token)
        changed = without_validators(request, request.route.server_token)
        if changed is not None:
            return changed
        fields = ResponseFields(200, content_type=_TYPES[kind], server=request.route.server_token)
        if request.method == b"HEAD":
            return Response(fields, bodiless=True)
        begin, lines, end = FORMATS[kind](request, entries, callback)
        if len(entries) <= BATCH:
            return Response(fields, b"".join([begin, *lines, end]))
        return Response(fields, source=Listing(begin, lines, end))

    return list_directory


def callback_of(request: Request) -> bytes | None:
    """Return the name of the function that the client wants called; b"" for none, None for a forbidden one."""
    for argument in (request.args or b"").split(b"&"):
        name, equals, value = argument.partition(b"=")
        if equals and name.lower() == b"callback":
            if len(value) > 128:
                log_request(request, "info", f'client sent too long callback name: "{shown_path(value)}"')
                return None
            if value and _CALLBACK(value) is None:
                log_request(request, "info", f'client sent invalid callback name: "{shown_path(value)}"')
                return None
            return value
    return b""


def refuse(request: Request, path: bytes, error: OSError) -> Response:
    """Return the answer when a directory cannot be opened."""
    status, level = 500, "crit"
    if error.errno in NOT_FOUND:
        status, level = 404, "error"
    elif error.errno in FORBIDDEN:
        status, level = 403, "error"
    if status == 404:
        log_request(request, level, failed("opendir", shown_path(path), error))
    else:
        log_end(request, level, failed("opendir", shown_path(path), error), "file")
    return error_response(request, status, request.route.server_token)


async def read_directory(request: Request, path: bytes) -> list[Entry] | None:
    """Return the contents of a directory, sorted; None, logged, when an entry cannot be examined. Raises OSError."""
    found: list[Entry] = []
    batch: list[Entry] = []
    with os.scandir(path) as scan:
        for count, item in enumerate(scan, 1):
            if not count % BATCH:
                batch.sort(key=_NAME)  # the last sort takes an instant if the batches are in order
                found += batch
                batch.clear()
                await give_way()
            if item.name.startswith(b"."):
                continue
            try:
                facts = facts_of(item)
            except OSError as error:
                log_request(request, "crit", failed("stat", shown_path(item.path), error))
                if error.errno != errno.EACCES:
                    return None
                continue
            kind = facts.st_mode
            batch.append(Entry(item.name, stat.S_ISDIR(kind), stat.S_ISREG(kind), int(facts[8]), facts.st_size))
    found += batch
    found.sort(key=_NAME)
    if len(found) > BATCH:
        await give_way()
    directories = [entry for entry in found if entry.is_directory]
    return [*directories, *(entry for entry in found if not entry.is_directory)] if directories else found


def facts_of(item: os.DirEntry[bytes]) -> os.stat_result:
    """Return the facts of an entry, following links; those of the link itself if it leads nowhere. Raises OSError."""
    try:
        return item.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return item.stat(follow_symlinks=False)


class Listing(Pieces):
    """A long list as the body of a response: a batch of lines at a time."""

    __slots__ = ("_begin", "_end", "_lines")

    def __init__(self, begin: bytes, lines: Iterator[bytes], end: bytes) -> None:
        self._unsent = NOTHING
        self._begin = begin
        self._lines = lines
        self._end = end

    async def read(self) -> bytes:
        """Return the next lines; b"" at the end."""
        await give_way()
        lines = list(islice(self._lines, BATCH))
        piece = self._begin + b"".join(lines)
        self._begin = b""
        if len(lines) < BATCH:
            piece += self._end
            self._end = b""
        return piece

    def close(self) -> None:
        """Forget the rest."""
        self._lines = iter(())


# The result of a format: the text before the lines, the lines, and the text after them.
Listed = tuple[bytes, Iterator[bytes], bytes]

_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"})
# The bytes that stay as they are in a component of a URI (nginx: NGX_ESCAPE_URI_COMPONENT).
_PLAIN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_COMPONENT = [bytes((code,)) if code in _PLAIN_BYTES else b"%%%02X" % code for code in range(256)]
_IS_PLAIN = re.compile(rb"[A-Za-z0-9._~-]*").fullmatch
_NEEDS_JSON = re.compile(rb'[\x00-\x1f"\\]')
_JSON = {8: b"\\b", 12: b"\\f", 10: b"\\n", 13: b"\\r", 9: b"\\t", 34: b'\\"', 92: b"\\\\"}


def escape_component(name: bytes) -> bytes:
    """Escape a name as one component of a URI."""
    return name if _IS_PLAIN(name) else b"".join([_COMPONENT[code] for code in name])


def escape_html(text: bytes) -> bytes:
    """Escape a text for HTML or XML."""
    return text.decode("latin-1").translate(_HTML).encode("latin-1")


def escape_json(text: bytes) -> bytes:
    """Escape a text for a JSON string."""
    return _NEEDS_JSON.sub(lambda match: _JSON.get(match[0][0]) or b"\\u%04x" % match[0][0], text)


def html(request: Request, entries: list[Entry], _: bytes) -> Listed:
    """Return the list as an HTML page."""
    location = request.location
    title = escape_html(request.path)
    begin = (
        b"<html>\r\n<head><title>Index of %b</title></head>\r\n<body>\r\n<h1>Index of %b</h1>" % (title, title)
        + b'<hr><pre><a href="../">../</a>\r\n'
    )
    charset = location.charset
    counts_characters = charset is not None and (charset.constant or b"").lower() == b"utf-8"
    offset = time.localtime(request.client.clock.wall).tm_gmtoff if location.autoindex_localtime else 0
    is_exact = location.autoindex_exact_size
    # Neighbouring files often have the same minute.
    minutes: dict[int, str] = {}

    def lines() -> Iterator[bytes]:
        for name, is_directory, _, modified, size in entries:
            minute = (modified + offset) // 60
            shown = minutes.get(minute)
            if shown is None:
                if len(minutes) > 1024:
                    minutes.clear()
                at = time.gmtime(minute * 60)
                month = MONTHS[at.tm_mon - 1]
                shown = minutes[minute] = f"{at.tm_mday:02}-{month}-{at.tm_year} {at.tm_hour:02}:{at.tm_min:02}"
            text = name.decode("utf-8", "surrogateescape") if counts_characters else name
            width = len(text)
            if width > NAME_WIDTH:
                cut = text[: NAME_WIDTH - 3]
                label = _visible(cut) + b"..&gt;</a>"
                padding = b""
            else:
                label = _visible(text)
                if is_directory and width < NAME_WIDTH:
                    label += b"/"
                    width += 1
                label += b"</a>"
                padding = b" " * (NAME_WIDTH - width)
            if is_exact:
                told = b"%19d" % size if not is_directory else b"                  -"
            else:
                told = b"      -" if is_directory else rounded(size)
            slash = b"/" if is_directory else b""
            yield b'<a href="%b%b">%b%b %b %b\r\n' % (
                escape_component(name), slash, label, padding, shown.encode("ascii"), told,
            )  # fmt: skip

    return begin, lines(), b"</pre><hr></body>\r\n</html>\r\n"


def _visible(text: str | bytes) -> bytes:
    return escape_html(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))


def rounded(size: int) -> bytes:
    """Return a size in seven columns, with K, M or G."""
    for scale, least, unit in ((1 << 30, (1 << 30) - 1, b"G"), (1 << 20, (1 << 20) - 1, b"M"), (1 << 10, 9999, b"K")):
        if size > least:
            whole, rest = divmod(size, scale)
            return b"%6d%b" % (whole + (rest > scale // 2 - 1), unit)
    return b" %6d" % size


def json(request: Request, entries: list[Entry], callback: bytes) -> Listed:
    """Return the list as an array of objects, as the argument of a call if a callback is named."""

    def lines() -> Iterator[bytes]:
        last = len(entries) - 1
        for index, (name, is_directory, is_file, modified, size) in enumerate(entries):
            kind = b"directory" if is_directory else b"file" if is_file else b"other"
            at = time.gmtime(modified)
            date = (
                f"{DAYS[at.tm_wday]}, {at.tm_mday:02} {MONTHS[at.tm_mon - 1]} {at.tm_year:4} "
                f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
            )
            more = b', "size":%d' % size if is_file else b""
            comma = b"," if index < last else b""
            yield b'{ "name":"%b", "type":"%b", "mtime":"%b"%b }%b\r\n' % (
                escape_json(name), kind, date.encode("ascii"), more, comma,
            )  # fmt: skip

    begin, end = (b"/* callback */\r\n" + callback + b"([\r\n", b"]);") if callback else (b"[\r\n", b"]")
    return begin, lines(), end


def xml(request: Request, entries: list[Entry], _: bytes) -> Listed:
    """Return the list as XML elements."""

    def lines() -> Iterator[bytes]:
        for name, is_directory, is_file, modified, size in entries:
            kind = b"directory" if is_directory else b"file" if is_file else b"other"
            date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(modified)).encode("ascii")
            more = b' size="%d"' % size if is_file else b""
            yield b'<%b mtime="%b"%b>%b</%b>\r\n' % (kind, date, more, escape_html(name), kind)

    return b'<?xml version="1.0"?>\r\n<list>\r\n', lines(), b"</list>\r\n"


FORMATS: dict[str, Callable[[Request, list[Entry], bytes], Listed]] = {"html": html, "json": json, "jsonp": json, "xml": xml}
