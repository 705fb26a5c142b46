"""Rules about what a client may write and where it ends up (after the findings of gixy, https://github.com/yandex/gixy)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, variables_in
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.config.registry import SERVER
from wproxy.config.tree import Node

DECODED = ("uri", "document_uri")
REDIRECTS = ("301", "302", "303", "307", "308")
OF_CLIENT = ("http_", "arg_", "cookie_")
OF_CLIENT_NAMES = {"args", "query_string", "request_uri", "uri", "document_uri", "host"}


def header_splitting(blocks: Blocks) -> Iterator[Found]:
    """A decoded line break in a header line."""
    for block in blocks.all:
        for node, value in _field_values(block):
            decoded = next((name for name in variables_in(value) if name in DECODED), None)
            if decoded is not None:
                reason = (
                    f"${decoded} is decoded: %0d%0a in a request becomes a line break in {_header_of(node)}, and what follows it "
                    "another field (nginx sends it so; wproxy refuses the request)"
                )
                yield Found(
                    node.position,
                    reason,
                    "write $request_uri instead: it is as the client sent it, with its arguments",
                )
            elif (capture := _wide_capture(block, value)) is not None:
                reason = (
                    f"{capture} is from the decoded path and may hold line breaks, as [^...] matches them: %0d%0a in a "
                    f"request becomes a line break in {_header_of(node)}"
                )
                yield Found(node.position, reason, r"exclude them in the regex: [^...\s]", WARNING)


def _field_values(block: Block) -> Iterator[tuple[Node, str]]:
    """The directives whose value becomes a line of a header, with that value."""
    for node in block.node.children or ():
        arguments = node.arguments
        if node.name == "return" and len(arguments) == 1 and arguments[0].startswith(("http", "$scheme")):
            yield node, arguments[0]
        elif (
            (node.name == "return" and len(arguments) == 2 and arguments[0] in REDIRECTS)
            or (node.name == "rewrite" and len(arguments) >= 2 and _redirects(arguments))
            or (node.name in ("add_header", "add_trailer", "proxy_set_header", "grpc_set_header") and len(arguments) >= 2)
        ):
            yield node, arguments[1]
        elif node.name == "proxy_pass" and arguments:
            yield node, arguments[0]


def _redirects(arguments: tuple[str, ...]) -> bool:
    return arguments[1].startswith(("http://", "https://", "$scheme")) or arguments[-1] in ("redirect", "permanent")


def _header_of(node: Node) -> str:
    return {"return": "Location", "rewrite": "Location", "proxy_pass": "the request line"}.get(node.name) or node.arguments[0]


# A capture that takes all but some characters, line breaks among them.
_WIDE = re.compile(r"\((?:\?P?<(\w+)>)?[^()]*\[\^(?![^\]]*(?:\\[rnsW]))[^\]]*\]")


def _wide_capture(block: Block, value: str) -> str | None:
    """The capture of the location's regex in a value that may hold a line break."""
    location = next((one for one in block.chain() if one.is_regex), None)
    if location is None or (block is location and block.has("rewrite")):
        return None
    wide = [match[1] for match in _WIDE.finditer(location.pattern)]
    used = variables_in(value)
    for name in used:
        if (name.isdigit() and wide) or name in [one.lower() for one in wide if one]:
            return f"${name}"
    return None


def proxied_anywhere(blocks: Blocks) -> Iterator[Found]:
    """The client says where the request goes."""
    for proxied in blocks.proxied:
        if not proxied.has_variables or proxied.block.is_internal:
            continue
        # What begins with a path ends the authority as a slash does.
        authority = re.split(
            r"[/?]|\$\{?(?:uri|document_uri|request_uri)\b", proxied.url.partition("://")[2] or proxied.url, maxsplit=1
        )[0]
        for name in variables_in(authority):
            source = _source(proxied.block, name, set())
            if source is not None:
                through = "" if source == name else f" (by ${source})"
                reason = (
                    f"${name}{through} is written by the client, and says where the request goes: any server that we can reach"
                )
                fix = 'choose the upstream by a map with a list of those allowed, or mark the location "internal"'
                yield Found(proxied.node.position, reason, fix)
                break


def _source(block: Block, name: str, seen: set[str]) -> str | None:
    """The variable of the client's that a variable gets its value from; None where it comes from nowhere near a client."""
    if name.startswith(OF_CLIENT) or name in OF_CLIENT_NAMES or name.isdigit() or _is_named_capture(block, name):
        return name
    if name in seen:
        return None
    seen.add(name)
    for one in block.chain():
        for inner in one.inside() if one.context == SERVER else (one,):
            for node in inner.own("set"):
                if len(node.arguments) == 2 and node.arguments[0].lower() == f"${name}":
                    for other in variables_in(node.arguments[1]):
                        if (found := _source(block, other, seen)) is not None:
                            return found
    return None


def _is_named_capture(block: Block, name: str) -> bool:
    return any(
        re.search(rf"\(\?P?<{re.escape(name)}>[^)]*[*+]", one.pattern, re.IGNORECASE) for one in block.chain() if one.is_regex
    )


def open_redirect(blocks: Blocks) -> Iterator[Found]:
    """A link to us that leads where its author likes."""
    for block in blocks.all:
        for node, value in _field_values(block):
            if node.name not in ("return", "rewrite"):
                continue
            names = variables_in(re.split(r"(?<!:)(?<!/)/", value, maxsplit=1)[0])
            wild = next((name for name in names if name.startswith(("arg_", "cookie_"))), None)
            if wild is not None:
                reason = (
                    f"the redirect goes to ${wild}, which whoever wrote the link has chosen: a link to this host leads anywhere"
                )
                yield Found(node.position, reason, f'write out the host: "https://example.com/...${wild}", or choose by a map')


def valid_referers_none(blocks: Blocks) -> Iterator[Found]:
    """No Referer at all passes."""
    for block in blocks.all:
        for node in block.own("valid_referers"):
            if "none" in node.arguments:
                reason = '"none" lets requests without Referer pass, and any page can ask for that (Referrer-Policy: no-referrer)'
                yield Found(
                    node.position, reason, 'leave "none" out where this is a protection; against hotlinking it does no harm'
                )


_OPEN_END = re.compile(r"(?:\$|\$\)|/|/\)|\(/\|\$\)|\(\?:/\|\$\))$")


def origin_regex(blocks: Blocks) -> Iterator[Found]:
    """A regex of an origin that others' origins match too."""
    for position_node, regex in _origin_regexes(blocks):
        missing = []
        if not regex.startswith(("^", "(^")):
            missing.append("its beginning (^)")
        if not _OPEN_END.search(regex):
            missing.append("its end ($)")
        if re.search(r"(?<![\\\]])\.[A-Za-z]", regex.replace("://.", "")):
            missing.append(r"backslashes before dots (\.)")
        if missing:
            reason = f'the regex "{regex}" of an origin lacks {" and ".join(missing)}: foreign hosts match it too'
            yield Found(position_node.position, reason, r'write "^https://([a-z0-9-]+\.)?example\.com$"')


def _origin_regexes(blocks: Blocks) -> Iterator[tuple[Node, str]]:
    """The regexes that Origin and Referer are matched with, to let somebody in."""
    for block in blocks.all:
        for node in block.own("if"):
            words = " ".join(node.arguments).strip("()").split()
            if len(words) >= 3 and words[0] in ("$http_origin", "$http_referer") and words[1] in ("~", "~*", "!~", "!~*"):
                yield node, words[2].strip("\"'")
        for node in block.own("map"):
            if node.arguments[:1] == ("$http_origin",):  # maps of Referer mostly serve logs
                for entry in node.children or ():
                    if entry.name.startswith("~") and entry.arguments not in (("",), ("0",)):
                        yield entry, entry.name.lstrip("~*")


INJECTION_RULES = [
    Rule(
        "header-splitting",
        ERROR,
        "a decoded URI in a header",
        "$uri and $document_uri are decoded, so `%0d%0a` in a request is a line break in them. In a redirect, in "
        "add_header or in proxy_set_header that ends the line, and the client writes the next one. So may captures like "
        "`([^/]+)`, a warning.",
        header_splitting,
        "location / {\n    return 301 https://example.com$uri;\n}",
        "location / {\n    return 301 https://example.com$request_uri;\n}",
    ),
    Rule(
        "ssrf",
        WARNING,
        "the client chooses where a request is sent",
        "When the authority of proxy_pass comes from a field, an argument or a capture, a client can reach whatever this "
        "server can, the addresses behind it among others.",
        proxied_anywhere,
        "location /fetch {\n    proxy_set_header Host $host;\n    proxy_pass http://$arg_host$request_uri;\n}",
        "location /fetch {\n    internal;\n    proxy_set_header Host $host;\n    proxy_pass http://$arg_host$request_uri;\n}",
    ),
    Rule(
        "open-redirect",
        WARNING,
        "the client chooses where a redirect leads",
        "A link to a trusted host that leads to any other is what phishing needs.",
        open_redirect,
        "location = /go {\n    return 302 $arg_to;\n}",
        "location = /go {\n    return 302 https://example.com/$arg_to;\n}",
    ),
    Rule(
        "valid-referers-none",
        INFO,
        "valid_referers none as a protection",
        "`none` stands for requests without Referer, which any page can make a browser send.",
        valid_referers_none,
        "valid_referers none server_names;",
        "valid_referers server_names;",
    ),
    Rule(
        "origin-regex",
        WARNING,
        "a regex of Origin or Referer that matches foreign hosts",
        "Without ^ and $, and with bare dots, `example.com` is in `example.com.evil.org` and in `examplexcom.org`.",
        origin_regex,
        "location /api/ {\n    if ($http_origin ~ example.com) {\n        return 204;\n    }\n}",
        "location /api/ {\n    if ($http_origin ~ ^https://([a-z]+\\.)?example\\.com$) {\n        return 204;\n    }\n}",
    ),
]
