"""From a URI to a file: `root`, `alias` and file types (routing.md §3.4, §5.2; nginx: ngx_http_map_uri_to_path).

A location's `FilePlan` is worked out at load. With `root` the path of a file is the directory and the whole `$uri`; with `alias`
it is the alias and the part of `$uri` after the location's name; in a regex location the alias is the whole path, captures and
all.

No path above the directory can be reached. A normalised `$uri` has no `..` left, but two things bring it back: `rewrite` and
other directives that build a URI from what the client sent, and an alias with a trailing slash in a location without one
(`/img../secret`). nginx serves both; here such a path is refused, unless the configuration itself climbs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wproxy.http import Request, ResponseFields

if TYPE_CHECKING:
    from wproxy.config.model import Location

# The types without a `types` block (nginx: ngx_http_core_default_types).
DEFAULT_TYPES = {"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"}
_DEFAULT = (DEFAULT_TYPES,)

# The blocks that a location inherits, by their identity (they are kept, so that it stays theirs), and their joint table.
TypeTables = dict[tuple[int, bool], tuple[tuple[dict[str, str], ...], dict[bytes, bytes]]]

_CLIMBS = re.compile(rb"(?:^|/)\.\.(?:/|$)").search


class Unmappable(Exception):
    """A URI has no path in its location.

    status: the status of the answer. level, reason: for the error log; the reason contains no path.
    """

    def __init__(self, status: int, level: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.level = level
        self.reason = reason


class FilePlan:
    """How a location finds its files.

    root: the directory, or the alias; None when it has variables. cut: the length of the URI's part that an alias replaces, 0 for
    a root. whole: the alias is the whole path (in a regex location).
    heads: remembered heads of served files, by URI; each with the size and the time of the file, whether it stands in for an
    error, and its path.
    """

    __slots__ = ("_climbing", "_evaluate", "_prefix", "_types", "cut", "default_type", "heads", "is_alias", "root", "whole")

    def __init__(self, location: Location, prefix: str, tables: TypeTables) -> None:
        """prefix: the directory of relative paths, with its slash. The plan of the location around this one is made first.
        tables: the tables of earlier plans; locations with the same `types` share one.

        Raises ValueError, in nginx's words, for an alias that cannot replace anything.
        """
        alias = location.alias
        template = location.root if alias is None else alias.path
        self._evaluate = template.evaluate
        self._prefix = _encode(prefix)
        self._climbing = _CLIMBS(_encode(template.text)) is not None
        self.root: bytes | None = None
        if template.constant is not None:
            self.root = b"" if template.constant == b"/" and alias is None else self._absolute(template.constant)
        self.is_alias = alias is not None
        self.cut = 0
        self.whole = False
        if alias is not None:
            if alias.location is None:
                alias.location = location
            owner = alias.location
            if owner.modifier == "@":
                raise ValueError('the "alias" directive cannot be used inside the named location')
            if owner.modifier in ("~", "~*"):
                self.whole = True
            else:
                self.cut = len(owner.prefix)
        self._types = _type_table(location.types, location.mime_types == "complete", tables)
        self.default_type = _encode(location.default_type)
        self.heads: dict[Any, tuple[ResponseFields, int, int, bool, bytes]] = {}

    def directory(self, request: Request) -> bytes:
        """Return `$document_root`: the root or the alias, absolute."""
        if self.root is not None:
            return self.root
        return self._absolute(self._evaluate(request))

    def _absolute(self, path: bytes) -> bytes:
        return path if path.startswith(b"/") else self._prefix + path

    def path(self, request: Request) -> bytes:
        """Return the path of the request's URI. Raises Unmappable."""
        root = self.root
        uri = request.path
        if root is None or self.is_alias:
            return self._unusual_path(request)
        # 46 is ".": most URIs have one or none, and `replace` takes half the instructions of `find`.
        if 46 in uri and uri.replace(b"..", b"") is not uri and _CLIMBS(uri) is not None:
            raise _climbing()
        return root + uri

    def _unusual_path(self, request: Request) -> bytes:
        """Return the path for an alias, or for a root with variables. Raises Unmappable."""
        self.check(request)
        directory = self.directory(request)
        if self.whole:
            path = directory + request.path if request.add_uri_to_alias else directory
            return self.below(path)
        return self.below(directory, request.path[self.cut :])

    def check(self, request: Request) -> None:
        """Raise Unmappable when the URI no longer belongs to the location, so that the alias cannot replace any part of it."""
        if self.is_alias and not request.valid_location:
            name = request.location.pattern
            raise Unmappable(500, "alert", f'"alias" cannot be used in location "{name}" where URI was rewritten')

    def below(self, directory: bytes, rest: bytes = b"") -> bytes:
        """Return the path of `rest` in the directory. Raises Unmappable for a `..` that the configuration itself does not
        contain.
        """
        path = directory + rest
        if b".." in path:
            if self.root is None and not self._climbing:
                doubtful = path  # the values of variables in the directory are not trusted either
            else:
                begun = directory[directory.rfind(b"/") + 1 :]
                doubtful = rest if begun == b".." else begun + rest
            if _CLIMBS(doubtful) is not None:
                raise _climbing()
        return path

    def type_of(self, uri: bytes) -> bytes:
        """Return the Content-Type of a URI, by the extension of its last segment; empty when it has none."""
        if 46 not in uri:
            return self.default_type
        # The name must have something before the dot (nginx: ngx_http_set_exten).
        name = uri[uri.rfind(b"/") + 1 :]
        dot = name.rfind(b".")
        return self._types.get(name[dot + 1 :].lower(), self.default_type) if dot > 0 else self.default_type

    def __repr__(self) -> str:
        return f"<files {'alias' if self.is_alias else 'root'} {self.root!r}>"


def _type_table(blocks: tuple[dict[str, str], ...], is_complete: bool, tables: TypeTables) -> dict[bytes, bytes]:
    """Return the type of each extension: these blocks on top of the complete table, or nginx's table when there are none."""
    known = tables.get((id(blocks), is_complete))
    if known is None:
        first: tuple[dict[str, str], ...] = () if blocks else _DEFAULT
        if is_complete:
            from wproxy.mime_types import COMPLETE_TYPES  # most configurations bring their own types

            first = (COMPLETE_TYPES,)
        made = {_encode(extension): _encode(kind) for block in (*first, *blocks) for extension, kind in block.items()}
        known = tables[id(blocks), is_complete] = blocks, made
    return known[1]


def _climbing() -> Unmappable:
    return Unmappable(404, "error", "the path leaves the directory of the location")


def document_root(request: Request) -> bytes:
    """Return `$document_root` of the request's location."""
    return request.location.files.directory(request)


def filename(request: Request) -> bytes:
    """Return `$request_filename`: the path of the request's URI; empty when it has none."""
    try:
        return request.location.files.path(request)
    except Unmappable:
        return b""


def content_type(location: Location, uri: bytes) -> bytes:
    """Return the Content-Type that a location gives to a URI, by its extension."""
    return location.files.type_of(uri)


def shown_path(path: bytes) -> str:
    """Return a path fit for a line of the error log: unchanged except for control characters."""
    return path.decode("utf-8", "backslashreplace").translate(_CONTROLS)


_CONTROLS = {code: f"\\x{code:02X}" for code in (*range(0x20), 0x7F)}


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
