"""`wproxy convert`: rewriting a configuration in the other syntax."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.config.document import Document, Glob, OpenFile, no_file, no_match
from wproxy.config.registry import Directive, find_directive
from wproxy.config.tree import Node

Lookup = Callable[[str, int], Directive | None]

NGINX = "nginx"
TOML = "toml"


def syntax_of(file: str) -> str:
    """Return the syntax of a configuration file by its name: TOML for `.toml`, nginx's for everything else."""
    return TOML if file.endswith(".toml") else NGINX


def read_document(
    text: bytes,
    file: str,
    syntax: str,
    open_file: OpenFile = no_file,
    config_directory: str = "",
    glob: Glob = no_match,
    lookup: Lookup = find_directive,
    with_comments: bool = False,
) -> Document:
    """Read a configuration in either syntax, with the files that it includes; raises ConfigurationError."""
    # A start reads one syntax and writes none, so it must not import the other modules, nor tomli.
    if syntax == TOML:
        from wproxy.config.toml import read_toml

        return read_toml(text, file, lookup, open_file, config_directory, glob, with_comments)
    from wproxy.config.nginx import read_nginx

    return read_nginx(text, file, open_file, config_directory, glob)


def convert(
    text: bytes,
    from_syntax: str,
    to_syntax: str,
    file: str,
    open_file: OpenFile = no_file,
    config_directory: str = "",
    glob: Glob = no_match,
    lookup: Lookup = find_directive,
) -> bytes:
    """Return the text of a configuration in the other syntax: the same tree, with its comments.

    from_syntax, to_syntax: NGINX or TOML; two equal ones reformat the file. file: its name in messages. Included directives are
    written out in place, and a comment at the top says so. Raises ConfigurationError when the file has the wrong shape, or cannot
    be expressed in the other syntax.
    """
    document = read_document(text, file, from_syntax, open_file, config_directory, glob, lookup, with_comments=True)
    if to_syntax == TOML:
        from wproxy.config.write_toml import write_toml

        written = write_toml(document.root, document.comments, lookup)
    else:
        from wproxy.config.write_nginx import write_nginx

        if from_syntax == TOML:
            _add_events(document.root)
        written = write_nginx(document.root, document.comments)
    included = [source.name for source in document.files[1:]]
    if included:
        names = "".join(f"#   {' '.join(name.split())}\n" for name in included)
        written = f"# Included files are written out in place:\n{names}{written}"
    return written.encode("utf-8", "surrogateescape")


def _add_events(root: Node) -> None:
    """Add the `events` block, which an nginx.conf must have; TOML omits a table that sets nothing."""
    children = root.children or []
    http = next(
        (
            index
            for index, node in enumerate(children)
            if node.name == "http" and node.children is not None and not node.arguments
        ),
        None,
    )
    if http is not None and not any(node.name == "events" for node in children):
        children.insert(http, Node("events", (), root.position, []))
