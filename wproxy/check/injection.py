"""Rules about text that a client controls, and where it ends up (after the findings of gixy, https://github.com/yandex/gixy)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, is_refusal, variables_in
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.check.flow import Origin, location_of_capture, origins_in
from wproxy.check.regexes import matched_with
from wproxy.config.registry import LOCATION_IF, SERVER_IF
from wproxy.config.tree import Node

DECODED = ("uri", "document_uri")
REDIRECTS = ("301", "302", "303", "307", "308")
OF_CLIENT = ("http_", "arg_", "cookie_")
OF_CLIENT_NAMES = {"args", "query_string", "request_uri", "uri", "document_uri", "host"}


def header_splitting(blocks: Blocks) -> Iterator[Found]:
    """Find a decoded line break in a header line."""
    for block in blocks.all:
        for node, value in _field_values(block):
            found = list(origins_in(blocks, block, value))
            decoded = next((one for one in found if one.name in DECODED and may_break(one)), None)
            if decoded is not None:
                reason = (
                    f"${decoded.name}{decoded.by} is decoded: %0d%0a in a request becomes a line break in {_header_of(node)}, "
                    "and the rest another field (nginx sends it; wproxy refuses the request)"
                )
                yield Found(
                    node.position,
                    reason,
                    "write $request_uri instead: it is the URI as the client sent it, with its arguments",
                    WARNING if decoded.is_captured else None,
                )
            elif (capture := next((one for one in found if _is_wide_capture(one)), None)) is not None:
                reason = (
                    f"${capture.name}{capture.by} is from the decoded path and may contain line breaks, as [^...] matches them: "
                    f"%0d%0a in a request becomes a line break in {_header_of(node)}"
                )
                yield Found(node.position, reason, r"exclude them in the regex: [^...\s]", WARNING)


def may_break(origin: Origin) -> bool:
    """Whether a text from the decoded path may still contain a line break."""
    return not origin.is_captured or any(_WIDE.finditer(origin.entry or ""))


def _field_values(block: Block) -> Iterator[tuple[Node, str]]:
    """Yield the directives whose value becomes a line of a header, with that value."""
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


# A capture that matches all but some characters, including line breaks.
_WIDE = re.compile(r"\((?:\?P?<(\w+)>)?[^()]*\[\^(?![^\]]*(?:\\[rnsW]))[^\]]*\]")


def wide_groups(pattern: str, name: str) -> bool:
    """Whether the group of that name, or one of the numbered ones, matches all but some characters."""
    wide = [match[1] for match in _WIDE.finditer(pattern)]
    return bool(wide) if name.isdigit() else name in [one.lower() for one in wide if one]


def _is_wide_capture(origin: Origin) -> bool:
    """Whether it is a capture of a location's regex that may contain a line break."""
    block = origin.block
    location = next((one for one in block.chain() if one.is_regex), None)
    if location is None or origin.is_captured or (block is location and block.has("rewrite")):
        return False
    return wide_groups(location.pattern, origin.name)


def proxied_anywhere(blocks: Blocks) -> Iterator[Found]:
    """Find a request whose destination the client chooses."""
    for proxied in blocks.proxied:
        if not proxied.has_variables or proxied.block.is_internal:
            continue
        # A text that begins with a path ends the authority as a slash does.
        authority = re.split(
            r"[/?]|\$\{?(?:uri|document_uri|request_uri)\b", proxied.url.partition("://")[2] or proxied.url, maxsplit=1
        )[0]
        for origin in origins_in(blocks, proxied.block, authority):
            if _is_of_client(origin) and not _is_chosen(origin):
                reason = (
                    f"${origin.name}{origin.by} is written by the client and decides where the request goes: any server that we "
                    "can reach"
                )
                fix = 'choose the upstream by a map with a list of those allowed, or mark the location "internal"'
                yield Found(proxied.node.position, reason, fix)
                break


def _is_of_client(origin: Origin) -> bool:
    name = origin.name
    if name.startswith(OF_CLIENT) or name in OF_CLIENT_NAMES:
        return True
    location = location_of_capture(origin)
    if location is not None:
        return matched_with(location, name, b"a.example.com") is not None  # and not only one of a few words
    return name.isdigit()


def _is_chosen(origin: Origin) -> bool:
    """Whether the key of a map entry restricts the values: a list of those allowed."""
    return origin.entry is not None and origin.entry != "default"


def open_redirect(blocks: Blocks) -> Iterator[Found]:
    """Find redirects whose target a link's author can choose."""
    for block in blocks.all:
        for node, value in _field_values(block):
            if node.name not in ("return", "rewrite"):
                continue
            host = re.split(r"(?<!:)(?<!/)/", value, maxsplit=1)[0]
            wild = next(
                (
                    one
                    for one in origins_in(blocks, block, host)
                    if one.name.startswith(("arg_", "cookie_")) and not _is_chosen(one)
                ),
                None,
            )
            if wild is not None:
                reason = (
                    f"the redirect goes to ${wild.name}{wild.by}, which the author of the link has chosen: a link to this host "
                    "leads anywhere"
                )
                fix = f'write out the host: "https://example.com/...${wild.name}", or choose by a map'
                yield Found(node.position, reason, fix)


def valid_referers_none(blocks: Blocks) -> Iterator[Found]:
    """Find a `valid_referers` that lets requests without Referer pass."""
    for block in blocks.all:
        for node in block.own("valid_referers"):
            if "none" in node.arguments:
                reason = '"none" lets requests without Referer pass, and any page can ask for that (Referrer-Policy: no-referrer)'
                yield Found(node.position, reason, 'leave out "none" if this is a protection; against hotlinking it does no harm')


_OPEN_END = re.compile(r"(?:\$|\$\)|/|/\)|\(/\|\$\)|\(\?:/\|\$\))$")


def origin_regex(blocks: Blocks) -> Iterator[Found]:
    """Find a regex of an origin that others' origins match too."""
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
    """Yield the regexes that Origin and Referer are matched with to grant access."""
    for block in blocks.all:
        for condition in block.blocks:
            words = " ".join(condition.node.arguments).strip("()").split()
            is_if = condition.context in (SERVER_IF, LOCATION_IF) and len(words) >= 3
            if is_if and words[1] in ("~", "~*", "!~", "!~*") and _lets_in(condition, words[0], words[1]):
                yield condition.node, words[2].strip("\"'")
        for node in block.own("map"):
            if node.arguments[:1] == ("$http_origin",):  # maps of Referer mostly serve logs
                for entry in node.children or ():
                    if entry.name.startswith("~") and entry.arguments not in (("",), ("0",)):
                        yield entry, entry.name.lstrip("~*")


def _lets_in(condition: Block, variable: str, operator: str) -> bool:
    """Whether an `if` decides about access by its regex: it refuses what does not match, or grants something to what matches. A
    list of forbidden ones may match too much without letting anyone in.
    """
    refuses = any(is_refusal(node) for node in condition.own("return")) or any(
        node.arguments == ("all",) for node in condition.own("deny")
    )
    if operator.startswith("!"):
        return variable in ("$http_origin", "$http_referer") and refuses
    if variable == "$http_origin":
        return not refuses
    if variable != "$http_referer" or refuses:
        return False
    # A Referer mostly serves logs and redirects: only a variable that leads to a refusal makes it a guard.
    names = {node.arguments[0].lower() for node in condition.own("set") if node.arguments}
    server = condition.server()
    others = [one for one in server.inside() if one.context in (SERVER_IF, LOCATION_IF)] if server is not None else []
    return any(
        names.intersection(f"${name}" for name in variables_in(" ".join(one.node.arguments)))
        and any(is_refusal(node) for node in one.own("return"))
        for one in others
    )


INJECTION_RULES = [
    Rule(
        "header-splitting",
        ERROR,
        "a decoded URI in a header",
        "$uri and $document_uri are decoded, so `%0d%0a` in a request is a line break in them. In a redirect, in "
        "add_header or in proxy_set_header that ends the line, and the client writes the next one. Captures like "
        "`([^/]+)` may do the same, which is a warning.",
        header_splitting,
        "location / {\n    return 301 https://example.com$uri;\n}",
        "location / {\n    return 301 https://example.com$request_uri;\n}",
    ),
    Rule(
        "ssrf",
        WARNING,
        "the client chooses where a request is sent",
        "When the authority of proxy_pass comes from a field, an argument or a capture, a client can reach everything that this "
        "server can, including the addresses behind it.",
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
