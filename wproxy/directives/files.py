"""Files: where they are, what they are called, how they are sent (nginx: ngx_http_core_module.c, ngx_http_index_module.c,
ngx_http_try_files_module.c, ngx_http_autoindex_module.c, ngx_http_gzip_static_module.c,
ngx_http_not_modified_filter_module.c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, OWN, OWN_GATHER, SERVER, TYPES, directive
from wproxy.config.tree import Node, Problem
from wproxy.directives.open_file_cache import FileCache, SymlinkPolicy, disable_symlinks, open_file_cache, seconds
from wproxy.directives.values import flag, number, size, word
from wproxy.maps.entries import read_entries
from wproxy.template import Template, compile_template

if TYPE_CHECKING:
    from wproxy.config.model import Location

UNLIMITED = 2**31 - 1


def root(directory: str) -> Template:
    """Return the directory of `root`, without a trailing slash."""
    _check_directory(directory)
    return compile_template(directory.removesuffix("/") if len(directory) > 1 else directory)


class Alias:
    """One `alias`. location: the one that contains it and whose name it replaces; set when its file plan is made.

    Locations inside inherit the alias, and it goes on replacing the name of the outer one.
    """

    __slots__ = ("location", "path")

    def __init__(self, path: Template) -> None:
        self.path = path
        self.location: Location | None = None

    def __repr__(self) -> str:
        return f"<alias {self.path.text!r}>"


def alias(path: str) -> Alias:
    """Return the path of `alias`, unchanged."""
    _check_directory(path)
    return Alias(compile_template(path))


def _check_directory(text: str) -> None:
    for name in ("document_root", "realpath_root"):
        if f"${name}" in text or f"${{{name}}}" in text:
            raise ValueError(f'the ${name} variable cannot be used in the "%s" directive')


def index(*names: str) -> tuple[Template, ...]:
    """Return the names of one `index` line."""
    if "" in names:
        raise ValueError('index "" in "%s" directive is invalid')
    return tuple(compile_template(name) for name in names)


class Candidate(NamedTuple):
    """A file or, written with a trailing slash, a directory that `try_files` looks for."""

    path: Template
    is_directory: bool


class TryFiles(NamedTuple):
    """`try_files`: the candidates and, when none is found, a status or (status 0) a URI or `@name` to go to."""

    candidates: tuple[Candidate, ...]
    status: int
    target: Template | None


def try_files(*words: str) -> TryFiles:
    """Read `try_files FILE... =CODE`, `try_files FILE... URI` or `try_files FILE... @name`."""
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
    """Return a `types` block: the type of each extension, in lower case. The later of two types for one extension counts.

    Raises ConfigurationError for inner blocks.
    """
    found: dict[str, str] = {}
    read_entries(entries, lambda entry: found.update((extension.lower(), entry.name) for extension in entry.arguments))
    return found


def repeated_extensions(blocks: tuple[Node, ...]) -> Iterator[Problem]:
    """Yield nginx's warnings about the last `types` of one block: extensions that have a type already."""
    known: dict[str, str] = {}
    for block in blocks:
        for entry in block.children or ():
            for extension in map(str.lower, entry.arguments):
                if extension in known and block is blocks[-1]:
                    text = f'duplicate extension "{extension}", content type: "{entry.name}"'
                    yield Problem(f'{text}, previous content type: "{known[extension]}"', entry.position)
                known[extension] = entry.name


def modified_since(mode: str) -> str:
    """Read `off`, `exact` or `before`."""
    if mode.lower() not in ("off", "exact", "before"):
        raise ValueError(f'invalid value "{mode}"')
    return mode.lower()


def range_count(value: str) -> int:
    """Return the number of ranges; 0 allows none."""
    return number()(value)


def chunk(value: str) -> int:
    """Return bytes, with k or m only."""
    if value[-1:] in ("g", "G"):
        raise ValueError('"%s" directive invalid value')
    return size(value)


STATIC_MODES = word(("off", "on", "always"))

_BLOCKS = HTTP | SERVER | LOCATION


def is_there() -> bool:
    """Read a directive without arguments: its presence is its value."""
    return True


class FilesDirectives:
    """Files as responses."""

    root: Template = directive(
        root, _BLOCKS | LOCATION_IF, default="html", excludes="alias", doc="The directory that URIs are looked up in."
    )
    alias: Alias | None = directive(
        alias, LOCATION, excludes="root", doc="The path that replaces the location's part of the URI."
    )
    index: tuple[tuple[Template, ...], ...] = directive(
        index,
        _BLOCKS,
        arity=(1, 1000),
        default="index.html",
        inherit=GATHER,
        doc="The files that answer for a directory, in order; a URI at the end is used untested.",
    )
    try_files: TryFiles | None = directive(
        try_files,
        SERVER | LOCATION,
        arity=(2, 1000),
        inherit=OWN,
        doc="Files and directories to look for, and the URI, `@name` or `=CODE` if none exists.",
    )
    types: tuple[dict[str, str], ...] = directive(
        types,
        _BLOCKS,
        arity=0,
        inherit=GATHER,
        block=TYPES,
        warns=repeated_extensions,
        doc="The Content-Type of each file name extension.",
    )
    etag: bool = directive(flag, _BLOCKS, default="on", doc="Whether files have an ETag, made from time and size.")
    if_modified_since: str = directive(
        modified_since, _BLOCKS, default="exact", doc="How If-Modified-Since is compared: exact, before, or off (not at all)."
    )
    max_ranges: int = directive(
        range_count,
        _BLOCKS,
        default=str(UNLIMITED),
        doc="The most ranges in a request; 0 allows none. More get the whole file.",
    )
    log_not_found: bool = directive(flag, _BLOCKS, default="on", doc="Whether a missing file is logged.")
    sendfile_max_chunk: int = directive(
        chunk,
        _BLOCKS,
        default="2m",
        doc="The most that is sent of a file at a time, before other connections get a turn; 0 is no limit.",
    )
    sendfile: bool = directive(
        flag,
        _BLOCKS | LOCATION_IF,
        default="on",
        doc="Whether the kernel sends files directly, which is cheapest; off: they are read and then sent.",
    )
    mime_types: str = directive(
        word(("nginx", "complete")),
        _BLOCKS,
        default="nginx",
        doc="The table that `types` extends: nginx's (without a `types`: html, gif and jpg), or a complete one.",
    )
    open_file_cache: FileCache | None = directive(
        open_file_cache,
        _BLOCKS,
        arity=(1, 2),
        default="off",
        doc="The number of files that a worker keeps open, and for how long without use: `max=N inactive=TIME`.",
    )
    open_file_cache_valid: float = directive(
        seconds, _BLOCKS, default="60s", doc="How long a cached file is trusted before it is checked again."
    )
    open_file_cache_min_uses: int = directive(
        number(), _BLOCKS, default="1", doc="The number of uses after which a file is kept open."
    )
    open_file_cache_errors: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether errors (missing or forbidden files) are cached too."
    )
    disable_symlinks: SymlinkPolicy | None = directive(
        disable_symlinks,
        _BLOCKS,
        arity=(1, 2),
        default="off",
        doc="Symbolic links to refuse: none, all (`on`), or those whose target has another owner (`if_not_owner`); `from=PART`.",
    )
    random_index: bool = directive(
        flag, LOCATION, default="off", doc="Whether a request for a directory gets one of its files, chosen at random."
    )
    empty_gif: tuple[bool, ...] = directive(
        is_there, LOCATION, arity=0, inherit=OWN_GATHER, doc="Answer with a transparent image of one pixel, from memory."
    )
    autoindex: bool = directive(flag, _BLOCKS, default="off", doc="Whether a directory without an index file is listed.")
    autoindex_format: str = directive(
        word(("html", "json", "jsonp", "xml")), _BLOCKS, default="html", doc="The format of directory listings."
    )
    autoindex_exact_size: bool = directive(
        flag, _BLOCKS, default="on", doc="Whether listings show sizes in bytes, or rounded to K, M and G (html only)."
    )
    autoindex_localtime: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether times in listings are local or UTC (html only)."
    )
    gzip_static: str = directive(
        STATIC_MODES, _BLOCKS, default="off", doc="Whether FILE.gz is sent instead of FILE, to clients that accept it or always."
    )
    brotli_static: str = directive(STATIC_MODES, _BLOCKS, default="off", doc="The same for FILE.br.")
    zstd_static: str = directive(STATIC_MODES, _BLOCKS, default="off", doc="The same for FILE.zst.")
