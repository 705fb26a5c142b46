"""`wproxy convert`: a configuration in one syntax, written in the other."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.config.document import Document, Glob, OpenFile, no_file, no_match
from wproxy.config.registry import Directive, find_directive
from wproxy.config.tree import Node

Lookup = Callable[[str, int], Directive | None]

NGINX = "nginx"
TOML = "toml"


def syntax_of(file: str) -> str:
    """The syntax of a configuration file, by its name: what ends in `.toml` is TOML, everything else is nginx's."""
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
    """Read a configuration in either syntax, with what it includes; raises ConfigurationError."""
    # A start reads one syntax and writes none: the other modules, and tomli, are not for it to import.
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
    """The text of a configuration in the other syntax: the same tree, with its comments.

    from_syntax, to_syntax: NGINX or TOML; the same twice gives the file in the form of our writers. file: its name in
    messages. What it includes is written out in its place, which a comment at the top says. Raises ConfigurationError with
    what is wrong with the shape of the file, or cannot be said in the other syntax.
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
        written = f"# What was included stands in its place here:\n{names}{written}"
    return written.encode("utf-8", "surrogateescape")


def _add_events(root: Node) -> None:
    """An nginx.conf must have the block; in TOML a table that sets nothing is not written."""
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
