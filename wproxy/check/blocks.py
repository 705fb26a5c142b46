"""The directive tree as rules need it: blocks that know the blocks around them, and what they inherit.

Rules read the tree and not the model, so that they also run on a configuration that does not resolve (on a machine that does not
know the name of an upstream), and see directives that are accepted but have no effect yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.certificate_files import NO_FILES, CertificateFiles
from wproxy.config.registry import (
    ENTRIES,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    SERVER,
    UPSTREAM,
    find_directive,
)
from wproxy.config.tree import Node
from wproxy.directives.proxy import ProxyTarget, proxy_target
from wproxy.regex import Regex, compile_regex

# The blocks that may contain a proxy_pass.
PLACES = LOCATION | LOCATION_IF | LIMIT_EXCEPT
REGEXES = ("~", "~*")
MODIFIERS = ("=", "^~", "~*", "~")


class Block:
    """One block: its directives, its inner blocks and the block around it.

    modifier, pattern: those of a location, as `location` takes them; both "" in any other block.
    """

    def __init__(self, node: Node, context: int, outer: Block | None) -> None:
        self.node = node
        self.context = context
        self.outer = outer
        self.modifier, self.pattern = split_location(node.arguments) if context == LOCATION else ("", "")
        self.blocks: list[Block] = []
        for child in node.children or ():
            row = find_directive(child.name, context)
            if child.children is not None and row is not None and row.block and not row.block & ENTRIES:
                self.blocks.append(Block(child, row.block, self))

    def __repr__(self) -> str:
        return f"<block {self.title} at {self.node.position}>"

    @property
    def title(self) -> str:
        """The block's name in messages: `location "/api/"`."""
        if self.context == LOCATION:
            modifier = "" if self.modifier == "@" else self.modifier
            return f'location "{f"{modifier} {self.pattern}".lstrip()}"'
        if self.context == LOCATION_IF:
            return f'if "{" ".join(self.node.arguments).replace(" )", ")")}"'
        return self.node.name or "main"

    @property
    def is_prefix(self) -> bool:
        """Whether it is a location with a prefix of paths."""
        return self.context == LOCATION and self.modifier in ("", "^~")

    @property
    def is_regex(self) -> bool:
        """Whether it is a location with a regex."""
        return self.modifier in REGEXES

    @property
    def is_internal(self) -> bool:
        """Whether no request of a client gets here directly."""
        return any(block.modifier == "@" or block.has("internal") for block in self.chain())

    def regex(self) -> Regex | None:
        """Return the regex of its pattern; None when it has none, or one that cannot be compiled (which `-t` reports)."""
        return compiled(self.pattern, self.modifier == "~*") if self.is_regex else None

    def chain(self) -> Iterator[Block]:
        """Yield this block and those around it, from the inside to the outside."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.outer

    def inside(self) -> Iterator[Block]:
        """Yield this block and everything inside it, in the order of the file."""
        yield self
        for block in self.blocks:
            yield from block.inside()

    def own(self, *names: str) -> list[Node]:
        """Return its directives of these names, in the order of the file."""
        return [child for child in self.node.children or () if child.name in names]

    def has(self, *names: str) -> bool:
        """Whether it has a directive of one of these names itself."""
        return any(child.name in names for child in self.node.children or ())

    def inner(self, node: Node) -> Block | None:
        """Return the block of a directive in this one."""
        return next((block for block in self.blocks if block.node is node), None)

    def effective(self, name: str) -> list[Node]:
        """Return the directives of a name that apply here: its own, else those of the nearest block around it that has any."""
        return next((nodes for block in self.chain() if (nodes := block.own(name))), [])

    def value(self, name: str, default: str = "") -> str:
        """Return the first argument of the directive of that name that applies here."""
        nodes = self.effective(name)
        return nodes[-1].arguments[0] if nodes and nodes[-1].arguments else default

    def server(self) -> Block | None:
        """Return the server around it."""
        return next((block for block in self.chain() if block.context == SERVER), None)

    def request_field(self, name: str) -> Node | None:
        """Return the `proxy_set_header` for a field that applies here, the last one if there are several."""
        found = [node for node in self.effective("proxy_set_header") if len(node.arguments) == 2]
        return next((node for node in reversed(found) if node.arguments[0].lower() == name.lower()), None)


class Proxied:
    """A block with a proxy_pass of its own. target: its target, None when it cannot be read (which `-t` reports).

    uri: the URI part of the target; upstream: the `upstream` block that it names, if any. url: as written.
    """

    def __init__(self, block: Block, node: Node, upstreams: dict[str, Block]) -> None:
        self.block = block
        self.node = node
        self.url = node.arguments[0] if node.arguments else ""
        self.target: ProxyTarget | None
        try:
            self.target = proxy_target(self.url)
        except ValueError:
            self.target = None
        self.has_variables = "$" in self.url
        self.uri = self.target.uri_part.decode("utf-8", "surrogateescape") if self.target else ""
        self.host = self.target.address.host if self.target and self.target.address and not self.target.address.is_unix else ""
        self.upstream = upstreams.get(self.host.lower())


class Blocks:
    """A whole configuration, as rules see it."""

    def __init__(self, root: Node, certificates: CertificateFiles = NO_FILES) -> None:
        self.certificates = certificates
        self.root = Block(root, MAIN, None)
        self.all = list(self.root.inside())
        self.http = [block for block in self.all if block.context == HTTP]
        self.servers = [block for block in self.all if block.context == SERVER]
        self.locations = [block for block in self.all if block.context == LOCATION]
        self.upstreams = {
            block.node.arguments[0].lower(): block for block in self.all if block.context == UPSTREAM and block.node.arguments
        }
        self.proxied = [
            Proxied(block, block.own("proxy_pass")[-1], self.upstreams)
            for block in self.all
            if block.context & PLACES and block.has("proxy_pass")
        ]
        self.maps = {
            node.arguments[1].lower(): node for block in self.http for node in block.own("map") if len(node.arguments) == 2
        }


def split_location(arguments: tuple[str, ...]) -> tuple[str, str]:
    """Return (modifier, pattern) of a `location`."""
    if len(arguments) >= 2:
        return arguments[0], arguments[1]
    word = arguments[0] if arguments else ""
    modifier = next((one for one in MODIFIERS if word.startswith(one)), "@" if word.startswith("@") else "")
    return modifier, word if modifier == "@" else word[len(modifier) :]


def compiled(pattern: str, caseless: bool = False) -> Regex | None:
    """Return a compiled regex; None for one that cannot be compiled."""
    try:
        return compile_regex(pattern, caseless)
    except ValueError:
        return None


def is_refusal(node: Node) -> bool:
    """Whether a `return` refuses the request."""
    return bool(node.arguments) and node.arguments[0].isdigit() and int(node.arguments[0]) >= 400


_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


def variables_in(text: str) -> list[str]:
    """Return the names of the variables in a text, in lower case."""
    return [(match[1] or match[2]).lower() for match in _VARIABLE.finditer(text)]
