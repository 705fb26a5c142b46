"""The configurations that the pages show: whole ones, and the many small ones of the reference put together into one.

Examples are small pieces that use the same few names, so each gets names of its own (`app` becomes `app_7`), a server and
an address of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness import ROOT
from local_copies import own_address

from wproxy.check.table import RULES
from wproxy.config import model  # noqa: F401  its import fills the registry
from wproxy.config.convert import NGINX, TOML, read_document
from wproxy.config.describe import HEADERS, example, nginx_example, sections
from wproxy.config.registry import CONTEXT_NAMES, LIMIT_EXCEPT, LOCATION, LOCATION_IF, SERVER, SERVER_IF, UPSTREAM, Directive
from wproxy.config.tree import Node, Position

_BLOCK = re.compile(r"^```(toml|nginx)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHARED_NAMES = re.compile(r"\b(app|connection_upgrade|area|variant|welcome|disks|short|koi8-r|auth(?=:1m|;| keys_zone))\b")
# Pages with parts of configurations.
PAGES = ("cache.md", "observing.md", "shared-limits.md")
_CACHE = re.compile(r"\bpages\b")
# Blocks of http that may be there only once.
_SINGLE = frozenset(("otel_exporter",))
# Bad examples that `-t` refuses.
_REFUSED = frozenset(("ip-hash-backup",))
# Each needs the other: every deployment with TLS has both.
_PAIRS = frozenset(("ssl_certificate", "ssl_certificate_key"))
_NOWHERE = Position("", 0)


def blocks_of(page: Path) -> list[str]:
    """The configurations that a page shows, whole or in part."""
    return [text for _, text in _BLOCK.findall(page.read_text())]


def whole_ones() -> dict[str, tuple[str, str]]:
    """Syntax and text of each configuration that is shown or handed out as a whole, by name."""
    found = {f"README {number}": (TOML, text) for number, text in enumerate(blocks_of(ROOT / "README.md"), 1)}
    found.update({path.parent.name: (TOML, path.read_text()) for path in sorted(ROOT.glob("contrib/*/*.toml"))})
    return found


def parts_of_page(name: str) -> list[str]:
    """The parts of configurations that a page of PAGES shows."""
    return blocks_of(ROOT / "docs" / name)


def tree_of_page(name: str) -> Node:
    """All of them in one configuration: each is the inside of http, or of a server of its own."""
    http: list[Node] = []
    for text in parts_of_page(name):
        children = read_document(text.encode(), "nginx.conf", NGINX).root.children or []
        locations = [child for child in children if child.name == "location"]
        http += [child for child in children if child not in locations]
        http += [Node("server", (), _NOWHERE, locations)] if locations else []
    if not any(child.name == "server" for child in http):
        http.append(Node("server", (), _NOWHERE, []))
    return Node("", (), _NOWHERE, [Node("events", (), _NOWHERE, []), Node("http", (), _NOWHERE, http)])


def examples_of_rules() -> Iterator[tuple[str, str]]:
    """The examples of docs/check.md: text, and the block that each stands in."""
    for rule in RULES.values():
        if rule.id not in _REFUSED:
            yield rule.bad, rule.around
        yield rule.good, rule.around


def tree_of_rules() -> Node:
    """All of them in one configuration."""
    return merged(_tree_of_rule(text, around, number) for number, (text, around) in enumerate(examples_of_rules()))


def _tree_of_rule(text: str, around: str, number: int) -> Node:
    text = _CACHE.sub(f"pages_{number}", text)
    text = _SHARED_NAMES.sub(rf"\1_{number}", text).replace("listen 8080", f"listen {own_address(number)}")
    if around == "server":
        text = f"server {{\n{text}\n}}\n"
    if around != "main":
        text = f"http {{\n{text}\n}}\n"
    return read_document(text.encode(), "nginx.conf", NGINX).root


def documented_rows() -> list[Directive]:
    """The directives that docs/directives.md has an example of."""
    return [row for _, rows in sections() for row in rows]


def examples_of_directives() -> Iterator[str]:
    """The examples of docs/directives.md, in both syntaxes."""
    for row in documented_rows():
        yield f"{example(row)}\n"
        yield nginx_example(row)


def tree_of_directives() -> Node:
    """All of them in one configuration, each in the innermost block that it may stand in."""
    return merged(_tree_of_directive(row, number) for number, row in enumerate(documented_rows()) if row.name not in _PAIRS)


def _tree_of_directive(row: Directive, number: int) -> Node:
    context = next(bit for bit in (LOCATION, SERVER, *CONTEXT_NAMES) if row.contexts & bit)
    inside = row.block or context
    text = example(row) if row.block else f"{HEADERS[context]}\n{example(row)}"
    if inside == UPSTREAM and row.name not in ("server", "state"):
        text += "\nserver = '10.0.0.1'"
    if row.name == "health_check":
        text += "\nproxy_pass = 'http://10.0.0.1'"
    if inside & (LOCATION | LOCATION_IF | LIMIT_EXCEPT | SERVER_IF):
        text = f"[[http.server]]\n{text}" if inside != SERVER_IF else text
    text = _SHARED_NAMES.sub(rf"\1_{number}", text)
    module = row.name.partition("_cache")[0]
    text = _CACHE.sub("pages" if module == "proxy" else f"pages_{module}", text)  # a cache is that of one module
    return read_document(text.encode(), "wproxy.toml", TOML).root


def merged(trees: Iterator[Node]) -> Node:
    """One configuration of many: what stands in their blocks `events` and `http`, and beside them."""
    root, events, http = Node("", (), _NOWHERE, []), Node("events", (), _NOWHERE, []), Node("http", (), _NOWHERE, [])
    blocks = {"events": events.children, "http": http.children}
    for tree in trees:
        for child in tree.children or ():
            block = blocks.get(child.name, root.children)
            assert block is not None
            block += child.children or [] if child.name in blocks else [child]
    for name in _SINGLE:
        once = list(http.named(name))
        for other in once[1:]:
            said = {child.name for child in once[0].children or ()}
            once[0].children = [*(once[0].children or []), *(child for child in other.children or () if child.name not in said)]
        http.children = [child for child in http.children or () if child not in once[1:]]
    root.children = [*(root.children or []), events, http]
    return root
