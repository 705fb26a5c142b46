"""Rules about proxy_pass and the URI that an upstream gets (proxy.md §1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, Proxied, variables_in
from wproxy.check.finding import INFO, WARNING, Found, Rule
from wproxy.check.flow import Origin, location_of_capture, origins_in
from wproxy.check.injection import DECODED, may_break, wide_groups
from wproxy.check.regexes import matched_with

_ARGUMENTS = {"args", "is_args", "query_string", "request_uri"}


def slash_mismatch(blocks: Blocks) -> Iterator[Found]:
    """Find a prefix and its replacement URI that do not end alike."""
    for proxied in blocks.proxied:
        prefix, uri = proxied.block.pattern, proxied.uri
        if not proxied.block.is_prefix or proxied.has_variables or not uri:
            continue
        if uri.endswith("/") and not prefix.endswith("/"):
            reason = (
                f'{proxied.block.title} has no trailing slash and "{proxied.url}" has one: {prefix}/x goes upstream as {uri}/x, '
                f"{prefix}x as {uri}x, and {prefix}../x as {uri}../x, which may lead out of {uri}"
            )
            fix = f'write "location {prefix}/"; {prefix} alone is then redirected there'
        elif "?" in uri:
            if uri.endswith(("=", "/")):
                continue  # made to take the rest of the path as the value
            reason = f'the rest of the path is added to the arguments in "{proxied.url}": {prefix}x goes upstream as {uri}x'
            fix = 'leave the arguments out of proxy_pass, or put them there with "rewrite ... break"'
        elif prefix.endswith("/") and not uri.endswith("/"):
            reason = f'{proxied.block.title} ends with a slash and "{proxied.url}" does not: {prefix}x goes upstream as {uri}x'
            fix = f'write "proxy_pass {proxied.url}/"'
        else:
            continue
        yield Found(proxied.node.position, reason, fix)


def strips_prefix(blocks: Blocks) -> Iterator[Found]:
    """Find a prefix that the upstream does not see: right for many applications, unexpected by many."""
    for proxied in blocks.proxied:
        prefix, uri = proxied.block.pattern, proxied.uri
        # A path that replaces the prefix was written on purpose; a trailing slash may be there by chance.
        is_stripped = uri == "/" and prefix.endswith("/") and prefix != "/"
        if not proxied.block.is_prefix or proxied.has_variables or not is_stripped:
            continue
        reason = f"the upstream does not see the prefix of {proxied.block.title}: {prefix}x goes upstream as {uri}x, %2F decoded"
        fix = f'if the application expects {prefix}x, write "proxy_pass {proxied.url.removesuffix(uri)}" without a URI'
        yield Found(proxied.node.position, reason, fix)


def _breaks(block: Block) -> bool:
    return any(len(node.arguments) == 3 and node.arguments[2] == "break" for node in block.own("rewrite"))


def uri_ignored(blocks: Blocks) -> Iterator[Found]:
    """Find a URI part of proxy_pass that `rewrite ... break` makes void."""
    for proxied in blocks.proxied:
        if proxied.uri and not proxied.has_variables and _breaks(proxied.block):
            reason = f'after "rewrite ... break" the URI part "{proxied.uri}" of proxy_pass is ignored: the rewritten URI is sent'
            fix = f'write "proxy_pass {proxied.url.removesuffix(proxied.uri)}", with the URI to send in the rewrite'
            yield Found(proxied.node.position, reason, fix)


def variable_uri(blocks: Blocks) -> Iterator[Found]:
    """Find a URI part with variables, which is sent as it is: nothing of the request is added to it."""
    for proxied in blocks.proxied:
        path = _path_of(proxied)
        if not path or proxied.block.modifier == "=":
            continue
        used = variables_in(path)
        if not used and not proxied.block.is_prefix:
            continue  # one address for what a regex matches is a choice
        if not used:
            reason = f'with variables in proxy_pass its URI is sent as written: every request here goes upstream as "{path}"'
            fix = f'leave "{path}" out to send the URI of the request, or write the URI to send: "$request_uri"'
        elif not _ARGUMENTS.intersection(used):
            reason = "with variables in proxy_pass its URI is sent as written: the arguments of the request are lost"
            fix = 'add "$is_args$args" to the end of proxy_pass'
        else:
            continue
        yield Found(proxied.node.position, reason, fix)


def decoded_capture(blocks: Blocks) -> Iterator[Found]:
    """Find a capture of the decoded path that is sent without being escaped again."""
    for proxied in blocks.proxied:
        path = _path_of(proxied)
        # `http://app$1`: the capture includes the slash.
        sample = b"a b" if path else b"/a b"
        for origin in origins_in(blocks, proxied.block, path or _behind_host(proxied)):
            if origin.name in DECODED and origin.is_captured and not may_break(origin):
                yield Found(proxied.node.position, _unescaped(origin), _OF_MAP)
                break
            location = location_of_capture(origin)
            if location is None or wide_groups(location.pattern, origin.name):
                continue  # it may even match line breaks: header-splitting reports that
            if matched_with(location, origin.name, sample) is None:
                continue
            base = proxied.url.partition("://")[0] + "://" + _authority_of(proxied)
            fix = (
                f'write "rewrite {_quoted(location.pattern)} {_rewritten(proxied)} break;" and "proxy_pass {base};", which '
                "escapes the path again"
            )
            yield Found(proxied.node.position, _unescaped(origin), fix)
            break


def _unescaped(origin: Origin) -> str:
    return (
        f"${origin.name}{origin.by} is a piece of the decoded path: a %20 in it goes upstream as a space, which breaks "
        "the request line (nginx sends it; wproxy refuses the request), and a %3F begins the arguments"
    )


_OF_MAP = 'let the map compare $request_uri, the form that the client sent, or choose the path by "rewrite ... break"'


def _authority_of(proxied: Proxied) -> str:
    return proxied.url.partition("://")[2].removesuffix(_path_of(proxied) or _behind_host(proxied))


def _behind_host(proxied: Proxied) -> str:
    """Return the part after the host from its first variable on, if no slash is between them."""
    host, dollar, rest = proxied.url.partition("://")[2].partition("$")
    return dollar + rest if host and "/" not in host else ""


def _rewritten(proxied: Proxied) -> str:
    path = _path_of(proxied) or _behind_host(proxied)
    return re.sub(r"\$\{?(?:is_args|args|query_string)\}?|\?.*$", "", path) or "/"


def _quoted(pattern: str) -> str:
    return f"'{pattern}'" if re.search(r"[{};\s]", pattern) else pattern


def _path_of(proxied: Proxied) -> str:
    """Return the URI part of a proxy_pass with variables, or ""."""
    if not proxied.has_variables:
        return ""
    rest = proxied.url.partition("://")[2]
    place = min((index for index in (rest.find("/"), rest.find("?")) if index >= 0), default=len(rest))
    return "" if rest.startswith("unix:") else rest[place:]


PROXY_URI_RULES = [
    Rule(
        "proxy-pass-slash-mismatch",
        WARNING,
        "location and proxy_pass do not both end with a slash",
        "A URI in proxy_pass replaces the location's prefix, letter for letter. When only one of the two ends with a "
        "slash, the upstream gets `//x` or `/newx`, and a prefix without a slash also takes paths like `/apix` and `/api../x`.",
        slash_mismatch,
        "location /api {\n    proxy_pass http://127.0.0.1:3000/;\n}",
        "location /api/ {\n    proxy_pass http://127.0.0.1:3000/;\n}",
    ),
    Rule(
        "proxy-pass-strips-prefix",
        INFO,
        "proxy_pass with a URI strips the location's prefix",
        "With a URI in proxy_pass (a slash is enough) the upstream does not see the prefix, and gets the path "
        "decoded and normalised. Without one it gets the request's own target. An application that expects the other form "
        "answers 404. If another path replaces the prefix, that is deliberate, and not reported.",
        strips_prefix,
        "location /api/ {\n    proxy_pass http://127.0.0.1:3000/;\n}",
        "location /api/ {\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "proxy-pass-uri-ignored",
        WARNING,
        "the URI of proxy_pass is ignored after rewrite ... break",
        "`rewrite ... break` sets the URI to send; the URI part of proxy_pass only counts for requests that no rewrite matched.",
        uri_ignored,
        "location /r/ {\n    rewrite ^/r/(.*)$ /x/$1 break;\n    proxy_pass http://127.0.0.1:3000/u/;\n}",
        "location /r/ {\n    rewrite ^/r/(.*)$ /u/x/$1 break;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
    Rule(
        "proxy-pass-variable-uri",
        WARNING,
        "proxy_pass with variables sends its URI as written",
        "As soon as proxy_pass has a variable, its URI part is all that is sent: the location's prefix is not replaced, "
        "the rest of the path is not appended, and neither are the arguments.",
        variable_uri,
        "location /api/ {\n    set $backend 127.0.0.1:3000;\n    proxy_pass http://$backend/;\n}",
        "location /api/ {\n    set $backend 127.0.0.1:3000;\n    proxy_pass http://$backend;\n}",
    ),
    Rule(
        "proxy-pass-decoded-capture",
        WARNING,
        "a capture of the path in proxy_pass is sent unescaped",
        "A regex location is matched with the decoded path, and proxy_pass with variables sends what they hold as it is: a space "
        "that came as `%20` ends the path in the middle of the request line, and the upstream answers 400. `rewrite ... break` "
        "changes the path of the request itself, which is escaped when it is sent, and keeps the arguments.",
        decoded_capture,
        "location ~ ^/api/(.*)$ {\n    proxy_pass http://127.0.0.1:3000/v1/$1$is_args$args;\n}",
        "location /api/ {\n    rewrite ^/api/(.*)$ /v1/$1 break;\n    proxy_pass http://127.0.0.1:3000;\n}",
    ),
]
