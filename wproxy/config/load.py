"""Reading a configuration: the file to bytes, the bytes to a tree, the tree to the model.

This is the only module of the package that reads files: it gives the front ends the functions that open included files.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wproxy.config.convert import convert, read_document, syntax_of
from wproxy.config.document import Document
from wproxy.config.nginx import parse_main_arguments
from wproxy.config.tree import BrokenShape, ConfigurationError, Problem
from wproxy.safe_open import ANYBODY, Distrusted, reach

if TYPE_CHECKING:
    from wproxy.config.model import Configuration
    from wproxy.config.resolve import LookUp
    from wproxy.config.tree import Node

DEFAULT_PID = "run/wproxy.pid"
DEFAULT_API_SOCKET = "run/wproxy-api.sock"


def load_configuration(file: str, prefix: str, look_up: LookUp, main_arguments: str = "") -> Configuration:
    """Read and resolve a configuration file, in the syntax of its name (`syntax_of`).

    file: its path; includes are relative to its directory. prefix: the directory that other relative paths inside start from.
    main_arguments: the directives of `-g`. Raises ConfigurationError.
    """
    return resolve_document(load_document(file, main_arguments), file, prefix, look_up)


def load_document(file: str, main_arguments: str = "") -> Document:
    """Read a configuration file and the files it includes: the tree and the files, in order; raises ConfigurationError."""
    directory = os.path.dirname(file)
    with no_collection():
        arguments = parse_main_arguments(main_arguments, read_file, directory, matching_files)
        document = _read(read_file(file), file)
    document.root.children = [*arguments, *(document.root.children or ())]
    return document


def resolve_document(document: Document, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Return the model of a document; raises ConfigurationError."""
    from wproxy.config.resolve import resolve

    prefix = os.path.join(prefix, "")
    with no_collection():
        insert_states(document.root, prefix)
        return resolve(document.root, file, prefix, look_up)


def load_text(text: bytes, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Resolve the text of a configuration; `file` is its name in messages, and decides the syntax."""
    return resolve_document(_read(text, file), file, prefix, look_up)


def convert_file(file: str, to_syntax: str) -> bytes:
    """Convert a configuration file to a syntax, `NGINX` or `TOML` of wproxy.config.convert; raises ConfigurationError."""
    _register_directives()
    return convert(read_file(file), syntax_of(file), to_syntax, file, read_file, os.path.dirname(file), matching_files)


def configured_pid(file: str, prefix: str, main_arguments: str = "") -> str:
    """Return the path of the pid file that a configuration names, whatever else may be wrong in it.

    Raises ConfigurationError when the file cannot be read at all, or has no pid file.
    """
    node = next(iter(load_document(file, main_arguments).root.named("pid")), None)
    path = node.arguments[0] if node and node.arguments else DEFAULT_PID
    if path == "off":
        raise ConfigurationError(
            Problem('there is no pid file to find the master by: "pid" is off', node.position if node else None)
        )
    return os.path.join(prefix, path)


def configured_api_socket(file: str, prefix: str) -> str:
    """Return the path of the API's socket, found in the same way. Raises ConfigurationError."""
    node = next(iter(load_document(file).root.named("api_socket")), None)
    path = node.arguments[0] if node and node.arguments else DEFAULT_API_SOCKET
    if path == "off":
        raise ConfigurationError(Problem('there is no socket of the API: "api_socket" is off', node.position if node else None))
    return os.path.join(prefix, path)


def read_file(file: str, distrusted: Distrusted | None = None) -> bytes:
    """Return the bytes of a configuration file; raises ConfigurationError. distrusted: see `wproxy.safe_open`."""
    try:
        with reach(file, distrusted) as place, open(file, "rb", opener=lambda _, flags: place.open(flags)) as opened:
            return opened.read()
    except (OSError, ValueError) as error:
        number, text = (error.errno, error.strerror) if isinstance(error, OSError) else (22, str(error))
        raise ConfigurationError(Problem(f'open() "{file}" failed ({number}: {text})')) from None


def insert_states(root: Node, prefix: str) -> None:
    """Put the servers of `state` files into their upstreams; a missing file has none yet.

    Raises ConfigurationError.
    """
    upstreams = (upstream for http in root.named("http") for upstream in http.named("upstream"))
    for upstream in upstreams:
        state = next((node for node in upstream.named("state") if len(node.arguments) == 1), None)
        if state is None or upstream.children is None:
            continue
        server = next(upstream.named("server"), None)
        if server is not None:
            text = f'"server" is not allowed here, the servers are kept in the file of "state" at {state.position}'
            raise ConfigurationError(Problem(text, server.position))
        path = os.path.join(prefix, state.arguments[0])
        if os.path.exists(path):
            from wproxy.edits.state import read_state

            # Workers write it, and the master's messages about its text can be read: a link must not lead to another file.
            upstream.children += read_state(read_file(path, ANYBODY), path)


def matching_files(pattern: str) -> Iterable[str]:
    """Return the files that a pattern of `include` matches, sorted as bytes (nginx: glob in ngx_open_glob); raises nothing."""
    from glob import glob  # needed only for an include with a pattern

    return sorted(glob(pattern), key=os.fsencode)


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the cyclic collector from scanning objects that only accumulate: half of the time of a large load (measured: 1,000
    servers of 10 locations, 2.3 s and 1.2 s).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(text: bytes, file: str) -> Document:
    """Read a text into a document."""
    _register_directives()
    try:
        return read_document(text, file, syntax_of(file), read_file, os.path.dirname(file), matching_files)
    except BrokenShape as error:
        from wproxy.config.recovered import with_directives  # needed only for an error

        raise ConfigurationError(*with_directives(error)) from None


def _register_directives() -> None:
    """Fill the registry, by which TOML is read, by importing the model."""
    import wproxy.config.model  # noqa: F401
