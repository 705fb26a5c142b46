"""Files: where they lie, what they are called, how they are sent (nginx: ngx_http_core_module.c, ngx_http_index_module.c,
ngx_http_try_files_module.c, ngx_http_not_modified_filter_module.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, SERVER, TYPES, directive
from wproxy.directives.values import flag, number, size
from wproxy.template import Template, compile_template

if TYPE_CHECKING:
    from wproxy.config.model import Location
    from wproxy.config.tree import Node

# Of these two one holds: where a block sets one, what it would have inherited of the other is gone, and both in one block
# is an error.
EXCLUSIVE = {"root": "alias", "alias": "root"}

UNLIMITED = 2**31 - 1


def root(directory: str) -> Template:
    """The directory of `root`, without the slash at its end."""
    _check_directory(directory)
    return compile_template(directory.removesuffix("/") if len(directory) > 1 else directory)


class Alias:
    """One `alias`. location: the one that it stands in, whose name it replaces; set when its plan of files is made.

    Locations inside inherit the alias, and it goes on replacing the name of the outer one.
    """

    __slots__ = ("location", "path")

    def __init__(self, path: Template) -> None:
        self.path = path
        self.location: Location | None = None

    def __repr__(self) -> str:
        return f"<alias {self.path.text!r}>"


def alias(path: str) -> Alias:
    """The path of `alias`, as it is."""
    _check_directory(path)
    return Alias(compile_template(path))


def _check_directory(text: str) -> None:
    for name in ("document_root", "realpath_root"):
        if f"${name}" in text or f"${{{name}}}" in text:
            raise ValueError(f'the ${name} variable cannot be used in the "%s" directive')


def index(*names: str) -> tuple[Template, ...]:
    """The names of one `index` line."""
    if "" in names:
        raise ValueError('index "" in "%s" directive is invalid')
    return tuple(compile_template(name) for name in names)


class Candidate(NamedTuple):
    """A file or, written with a slash at its end, a directory that `try_files` looks for."""

    path: Template
    is_directory: bool


class TryFiles(NamedTuple):
    """`try_files`: what to look for and, where nothing is found, a status or (status 0) a URI or `@name` to go to."""

    candidates: tuple[Candidate, ...]
    status: int
    target: Template | None


def try_files(*words: str) -> TryFiles:
    """`try_files FILE... =CODE`, `try_files FILE... URI` or `try_files FILE... @name`."""
    *paths, last = words
    candidates = tuple(
        Candidate(compile_template(path[:-1] if path.endswith("/") else path), path.endswith("/")) for path in paths
    )
    if not last.startswith("="):
        return TryFiles(candidates, 0, compile_template(last))
    code = last[1:]
    if not (code.isascii() and code.isdigit() and len(code) <= 3):
        raise ValueError(f'invalid code "{last}"')
    return TryFiles(candidates, int(code), None)


def types(entries: list[Node]) -> dict[str, str]:
    """A `types` block: the type of each extension, in lower case. Of two types for one extension the later counts."""
    found: dict[str, str] = {}
    for entry in entries:
        for extension in entry.arguments:
            found[extension.lower()] = entry.name
    return found


def modified_since(mode: str) -> str:
    """`off`, `exact` or `before`."""
    if mode.lower() not in ("off", "exact", "before"):
        raise ValueError(f'invalid value "{mode}"')
    return mode.lower()


def range_count(value: str) -> int:
    """How many ranges; 0 is none at all."""
    return number()(value)


def chunk(value: str) -> int:
    """Bytes, with k or m only."""
    if value[-1:] in ("g", "G"):
        raise ValueError('"%s" directive invalid value')
    return size(value)


_BLOCKS = HTTP | SERVER | LOCATION


class FilesDirectives:
    """Files as an answer."""

    root: Template = directive(root, _BLOCKS | LOCATION_IF, default="html", doc="The directory that URIs are looked up in.")
    alias: Alias | None = directive(alias, LOCATION, doc="What stands for the location's part of the URI in the path of a file.")
    index: tuple[tuple[Template, ...], ...] = directive(
        index,
        _BLOCKS,
        arity=(1, 1000),
        default="index.html",
        inherit=GATHER,
        doc="The files that answer for a directory, in order; a URI at the end answers untested.",
    )
    try_files: TryFiles | None = directive(
        try_files,
        SERVER | LOCATION,
        arity=(2, 1000),
        inherit=OWN,
        doc="Files and directories to look for, and the URI, `@name` or `=CODE` where none is there.",
    )
    types: tuple[dict[str, str], ...] = directive(
        types, _BLOCKS, arity=0, inherit=GATHER, block=TYPES, doc="The Content-Type of each file name extension."
    )
    etag: bool = directive(flag, _BLOCKS, default="on", doc="Whether files have an ETag, made of time and size.")
    if_modified_since: str = directive(
        modified_since, _BLOCKS, default="exact", doc="How If-Modified-Since is compared: exact, before, or off (not at all)."
    )
    max_ranges: int = directive(
        range_count,
        _BLOCKS,
        default=str(UNLIMITED),
        doc="The most ranges of a request; 0 offers none. Beyond it: the whole.",
    )
    log_not_found: bool = directive(flag, _BLOCKS, default="on", doc="Whether a file that is not there is logged.")
    sendfile_max_chunk: int = directive(
        chunk, _BLOCKS, default="2m", doc="How much of a file is sent in one go, before others have their turn; 0 is no limit."
    )
