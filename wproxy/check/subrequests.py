"""Rules about requests that wproxy makes itself: auth_request, mirror and others (subrequests.md §1 to §4)."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, is_refusal, variables_in
from wproxy.check.finding import ERROR, WARNING, Found, Rule
from wproxy.check.routing import find_location
from wproxy.config.tree import Node
from wproxy.directives.values import size

# Directives with the URI of a subrequest. nginx and wproxy take it as it is written.
LITERAL = ("auth_request", "mirror", "add_before_body", "add_after_body")


def literal_uri(blocks: Blocks) -> Iterator[Found]:
    """Find URIs of subrequests with a part that has no meaning there."""
    for block in blocks.all:
        for node in block.own(*LITERAL):
            uri = node.arguments[0] if len(node.arguments) == 1 else ""
            if not uri or uri == "off":
                continue
            if uri.startswith("@"):
                what, fix = "a named location cannot be asked, this is a path that no location has", "name a path"
            elif "?" in uri:
                what, fix = (
                    'the "?" becomes a part of the path, and there are no arguments',
                    "set them in the location that is asked",
                )
            elif variables_in(uri):
                what, fix = "variables are not evaluated here", "use the variable in the location that is asked"
            elif not uri.startswith("/"):
                what, fix = "no location matches a path without a slash at its beginning", f"write /{uri}"
            else:
                continue
            yield Found(node.position, f'"{node.name} {uri}": {what}', fix)


def asked(blocks: Blocks) -> Iterator[tuple[Block, Node, Block]]:
    """Yield each location with auth_request, the directive, and the location that is asked."""
    for block in blocks.locations:
        nodes, server = block.effective("auth_request"), block.server()
        if nodes and server is not None and nodes[-1].arguments and nodes[-1].arguments[0] not in ("off", ""):
            target = find_location(server, nodes[-1].arguments[0])
            if target is not None and target is not block:
                yield block, nodes[-1], target


def forgiving(blocks: Blocks) -> Iterator[Found]:
    """Find a location whose refusals become permissions by an error page."""
    for _, _, target in unique(asked(blocks)):
        refuses = any(is_refusal(node) for node in target.own("return")) or target.value("proxy_intercept_errors") == "on"
        for page in target.effective("error_page") if refuses else ():
            changed = next((word for word in page.arguments[:-1] if word.startswith("=")), None)
            if changed is None or changed[1:2] in ("3", "4", "5") or not {"401", "403"} & set(page.arguments):
                continue
            reason = (
                f"{target.title} is asked by auth_request, and this error_page turns its refusal into a permission for everybody"
            )
            yield Found(page.position, reason, 'leave out the "=", or write the error_page into the locations that ask')


def unique(found: Iterator[tuple[Block, Node, Block]]) -> Iterator[tuple[Block, Node, Block]]:
    """Yield only the first of several that ask one location."""
    seen: set[int] = set()
    for block, node, target in found:
        if id(target) not in seen:
            seen.add(id(target))
            yield block, node, target


def shared_verdict(blocks: Blocks) -> Iterator[Found]:
    """Find a cache of permissions whose key does not tell users apart."""
    for _, node, target in unique(asked(blocks)):
        cache = target.effective("proxy_cache")
        if not cache or target.value("proxy_cache", "off") == "off":
            continue
        key = target.value("proxy_cache_key", "$scheme$proxy_host$uri$is_args$args")
        if not any(
            name in ("http_authorization", "http_cookie", "remote_user") or name.startswith("cookie_")
            for name in variables_in(key)
        ):
            reason = (
                f"{target.title} is asked by auth_request ({node.position}), and the key of its cache is the same for all users"
            )
            yield Found(
                cache[-1].position, reason, 'add what tells them apart: proxy_cache_key "$uri $http_authorization $http_cookie"'
            )


def refused_length(blocks: Blocks) -> Iterator[Found]:
    """Find a location that takes larger bodies than the location that it asks."""
    for block, node, target in asked(blocks):
        allowed, checked = limit_of(block), limit_of(target)
        if allowed is None or checked is None or not checked or (allowed and allowed <= checked):
            continue
        reason = (
            f"{block.title} takes bodies of {shown(block)}, but {target.title} ({target.node.position}), which auth_request "
            f"asks, answers 413 from {shown(target)} on: the client gets a 500"
        )
        yield Found(node.position, reason, f'add "client_max_body_size 0;" to {target.title}')


def limit_of(block: Block) -> int | None:
    """Return client_max_body_size; 0 for no limit, None for nonsense."""
    try:
        return size(block.value("client_max_body_size", "1m"))
    except ValueError:
        return None


def shown(block: Block) -> str:
    """Return the limit for a message."""
    value = block.value("client_max_body_size", "1m")
    return "any size" if value == "0" else value


_ASKING = """location / {{
    auth_request /auth;
    proxy_pass http://127.0.0.1:8080;{0}
}}
location = /auth {{
    internal;{1}
    proxy_pass http://127.0.0.1:9000/verify;
}}"""

_CACHED = """proxy_cache_path /var/cache/auth keys_zone=auth:1m;
server {{
    location / {{
        auth_request /auth;
        proxy_pass http://127.0.0.1:8080;
    }}
    location = /auth {{
        internal;
        proxy_cache auth;{0}
        proxy_pass http://127.0.0.1:9000/verify;
    }}
}}"""

_FORGIVING = """{0}location / {{
    auth_request /auth;
    proxy_pass http://127.0.0.1:8080;{1}
}}
location = /auth {{
    internal;
    return 401;
}}
location = /login {{
    return 200 "log in";
}}"""

SUBREQUEST_RULES = [
    Rule(
        "literal-subrequest-uri",
        WARNING,
        "the URI of auth_request, mirror or add_*_body is not what it looks like",
        "nginx takes these URIs literally, and so does wproxy: variables stay as they are, a question mark begins no arguments, "
        "and `@name` is a path like any other.",
        literal_uri,
        _ASKING.format("", "").replace("/auth;", "/auth?mode=strict;"),
        _ASKING.format("", ""),
    ),
    Rule(
        "auth-request-error-page",
        ERROR,
        "an error page lets in everybody whom auth_request should refuse",
        "The answer of the asked location counts after its error pages, and it inherits those of the server. With `=` the error "
        "page replaces the status, too, and 200 lets the request in.",
        forgiving,
        _FORGIVING.format("error_page 401 = /login;\n", ""),
        _FORGIVING.format("", "\n    error_page 401 = /login;"),
    ),
    Rule(
        "auth-request-cache",
        ERROR,
        "a cache gives the permission of one user to another",
        "By default the key of proxy_cache is the URL, which is the same whenever auth_request asks: the first 200 answers for "
        "everybody until it expires.",
        shared_verdict,
        _CACHED.format(""),
        _CACHED.format('\n        proxy_cache_key "$uri $http_authorization $http_cookie";'),
        "http",
    ),
    Rule(
        "auth-request-body-size",
        WARNING,
        "uploads are refused by the location that auth_request asks",
        "A subrequest has the fields of the client's request, Content-Length included, and the limit of its location applies.",
        refused_length,
        _ASKING.format("\n    client_max_body_size 1g;", ""),
        _ASKING.format("\n    client_max_body_size 1g;", "\n    client_max_body_size 0;"),
    ),
]
