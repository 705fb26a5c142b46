"""Rules about connections to upstreams: keeping them, upgrading them to websockets, timing them out (proxy.md §1.3, §6, §10)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks, Proxied, variables_in
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.config.tree import Node
from wproxy.directives.values import parse_time

# Paths that commonly lead to websockets.
_WEBSOCKET_PATH = re.compile(r"(?:^|[/_.\-^(|])(?:wss?|websockets?|socket\\?\.io|sockjs|cable)(?=$|[/_.\-?$)|\\])", re.IGNORECASE)
_SHORT = 60.0  # seconds; the default of proxy_read_timeout
_PING = 30.0  # seconds; servers that ping do so within it: Action Cable 3, socket.io and SockJS 25, Phoenix 30


def _keepalive(proxied: Proxied) -> Node | None:
    """Return the `keepalive` that is written for the upstream; None when there is none or it is off."""
    nodes = proxied.upstream.own("keepalive") if proxied.upstream is not None else []
    return nodes[-1] if nodes and nodes[-1].arguments and nodes[-1].arguments[0] != "0" else None


def keepalive_without_http11(blocks: Blocks) -> Iterator[Found]:
    """Find kept connections that HTTP/1.0 ends after each request."""
    for proxied in blocks.proxied:
        kept, version = _keepalive(proxied), proxied.block.effective("proxy_http_version")
        if kept is not None and version and version[-1].arguments[:1] == ("1.0",):
            reason = (
                f'"keepalive" ({kept.position}) keeps connections, but requests of {proxied.block.title} are sent as HTTP/1.0, '
                "after which an upstream closes the connection"
            )
            yield Found(version[-1].position, reason, 'write "proxy_http_version 1.1;"')


def keepalive_by_default_version(blocks: Blocks) -> Iterator[Found]:
    """Find kept connections that an older nginx would not keep."""
    seen: set[int] = set()
    for proxied in blocks.proxied:
        kept = _keepalive(proxied)
        if kept is None or id(proxied.upstream) in seen or kept.position.file.endswith(".toml"):
            continue  # an older nginx does not read TOML
        missing = [] if proxied.block.effective("proxy_http_version") else ['"proxy_http_version 1.1;"']
        missing += [] if proxied.block.request_field("Connection") else ['"proxy_set_header Connection "";"']
        if missing:
            seen.add(id(proxied.upstream))
            reason = (
                f"{proxied.block.title} keeps connections by default here; nginx before 1.29.7 sends HTTP/1.0 and "
                "Connection: close, and keeps none"
            )
            yield Found(
                proxied.node.position, reason, f"if the file must work with an older nginx too, add {' and '.join(missing)}"
            )


def keepalive_connection_close(blocks: Blocks) -> Iterator[Found]:
    """Find kept connections with requests that ask to close."""
    for proxied in blocks.proxied:
        kept, node = _keepalive(proxied), proxied.block.request_field("Connection")
        if kept is not None and node is not None and node.arguments[1].strip().lower() == "close":
            reason = f'"keepalive" ({kept.position}) keeps connections, but {proxied.block.title} sends "Connection: close"'
            yield Found(node.position, reason, 'write "proxy_set_header Connection "";"')


def _closing_map(blocks: Blocks, node: Node) -> Node | None:
    """Return the map of $http_upgrade that gives `close` to requests without it, if Connection is taken from one."""
    names = variables_in(node.arguments[1])
    found = blocks.maps.get(f"${names[0]}") if len(names) == 1 else None
    if found is None or variables_in(found.arguments[0]) != ["http_upgrade"]:
        return None
    entries = {child.name: child for child in found.children or ()}
    entry = entries.get("") or entries.get("default")
    return entry if entry is not None and [word.lower() for word in entry.arguments] == ["close"] else None


def keepalive_websocket_map(blocks: Blocks) -> Iterator[Found]:
    """Find kept connections that the usual map for websockets closes."""
    for proxied in blocks.proxied:
        kept, node = _keepalive(proxied), proxied.block.request_field("Connection")
        entry = _closing_map(blocks, node) if kept is not None and node is not None else None
        if kept is not None and node is not None and entry is not None:
            reason = (
                f'requests without Upgrade get "Connection: close" from the map ({entry.position}), so "keepalive" '
                f"({kept.position}) keeps nothing for them in {proxied.block.title}"
            )
            yield Found(node.position, reason, 'write \'"" "";\' in the map instead of \'"" close;\'')


def _is_websocket(block: Block) -> bool:
    return any(_WEBSOCKET_PATH.search(one.pattern) for one in block.chain() if one.pattern and one.modifier != "@")


def _upgrades(block: Block) -> bool:
    node = block.request_field("Upgrade")
    return node is not None and node.arguments[1] != ""


def websocket_without_upgrade(blocks: Blocks) -> Iterator[Found]:
    """Find websocket handshakes that cannot reach the application."""
    for proxied in blocks.proxied:
        block = proxied.block
        connection, version = block.request_field("Connection"), block.value("proxy_http_version")
        missing = []
        if not _upgrades(block):
            if not _is_websocket(block):
                continue
            missing.append('"proxy_set_header Upgrade $http_upgrade;"')
        if connection is None or connection.arguments[1].lower() in ("", "close", "keep-alive"):
            missing.append('"proxy_set_header Connection $connection_upgrade;" with a map of $http_upgrade')
        if version == "1.0":
            missing.append('"proxy_http_version 1.1;"')
        if missing:
            reason = (
                f"{block.title} is for websockets, but Upgrade and Connection are not passed on automatically: the "
                "handshake does not get through"
            )
            yield Found(proxied.node.position, reason, f"add {', '.join(missing)}")


def websocket_read_timeout(blocks: Blocks) -> Iterator[Found]:
    """Find websockets that are cut after a minute of silence."""
    for proxied in blocks.proxied:
        block = proxied.block
        if not _upgrades(block):
            continue
        nodes = block.effective("proxy_read_timeout")
        seconds = parse_time(nodes[-1].arguments[0]) if nodes and nodes[-1].arguments else _SHORT
        if seconds is None or not 0 < seconds <= _SHORT:
            continue
        own = nodes[-1] if nodes and nodes[-1] in block.own("proxy_read_timeout") else None
        if own and not _is_websocket(block) and block.request_field("Upgrade") not in block.own("proxy_set_header"):
            continue  # the timeout fits this location's purpose, and the fields are set for all of a server
        reason = (
            f"a websocket is closed after {seconds:g} s in which the application sends nothing "
            f"(proxy_read_timeout{', by default' if not nodes else '' if own else f', {nodes[-1].position}'})"
        )
        fix = 'unless the application pings more often itself, write "proxy_read_timeout 1h;"'
        is_grave = seconds <= _PING and _is_websocket(block)
        yield Found(own.position if own else proxied.node.position, reason, fix, WARNING if is_grave else None)


# Timeouts for which 0 means "at once", with the consequence.
_AT_ONCE = "every request fails with 504 at once"
_ON_WAITING = "a request fails as soon as the upstream does not accept all of it at once"
ZERO_TIMEOUTS = {
    f"{protocol}_{what}_timeout": outcome
    for protocol in ("proxy", "grpc", "fastcgi", "uwsgi", "scgi", "memcached")
    for what, outcome in (("connect", _AT_ONCE), ("read", _AT_ONCE), ("send", _ON_WAITING))
}


def timeout_zero(blocks: Blocks) -> Iterator[Found]:
    """Find a 0 that was meant as "no limit"."""
    for block in blocks.all:
        for node in block.own(*ZERO_TIMEOUTS):
            if node.arguments and parse_time(node.arguments[0]) == 0:
                reason = f'"{node.name} 0" does not mean "no limit", it is a limit that has passed: {ZERO_TIMEOUTS[node.name]}'
                yield Found(node.position, reason, f'write a long time instead: "{node.name} 1h;"')


_POOL = (
    "upstream app {{\n    server 127.0.0.1:3000;\n    keepalive 16;\n}}\n{before}"
    "server {{\n    listen 8080;\n    location {path} {{\n"
)
_FIELDS = (
    "        proxy_set_header Host $host;\n        proxy_set_header X-Forwarded-For $remote_addr;\n"
    "        proxy_set_header X-Forwarded-Proto $scheme;\n"
)


def _pool(*lines: str, before: str = "", path: str = "/") -> str:
    """Return an example: a pool that keeps connections, and one location with these lines."""
    inside = "".join(f"        {line}\n" for line in lines)
    return f"{_POOL.format(before=before, path=path)}{_FIELDS}{inside}        proxy_pass http://app;\n    }}\n}}"


def _map(otherwise: str) -> str:
    return f'map $http_upgrade $connection_upgrade {{\n    default upgrade;\n    "" {otherwise};\n}}\n'


_UPGRADE = (
    "proxy_http_version 1.1;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection $connection_upgrade;",
)

CONNECTION_RULES = [
    Rule(
        "keepalive-without-http11",
        WARNING,
        "keepalive with HTTP/1.0",
        "A connection is kept when the upstream answers with HTTP/1.1 and does not close; a request in HTTP/1.0 asks it to "
        "close.",
        keepalive_without_http11,
        _pool("proxy_http_version 1.0;"),
        _pool("proxy_http_version 1.1;", 'proxy_set_header Connection "";'),
        "http",
    ),
    Rule(
        "keepalive-by-default-version",
        INFO,
        "keepalive that an older nginx would not keep",
        "Here, and in nginx since 1.29.7, HTTP/1.1 without a Connection field is the default. In older versions it is "
        "HTTP/1.0 with Connection: close, and `keepalive` has no effect without the two lines.",
        keepalive_by_default_version,
        _pool(),
        _pool("proxy_http_version 1.1;", 'proxy_set_header Connection "";'),
        "http",
    ),
    Rule(
        "keepalive-connection-close",
        WARNING,
        "keepalive with Connection: close",
        "An upstream that is told `Connection: close` closes after its answer, and the next request pays for a new connection.",
        keepalive_connection_close,
        _pool("proxy_http_version 1.1;", "proxy_set_header Connection close;"),
        _pool("proxy_http_version 1.1;", 'proxy_set_header Connection "";'),
        "http",
    ),
    Rule(
        "keepalive-websocket-map",
        WARNING,
        "keepalive with the websocket map that closes everything else",
        "The widespread map of $http_upgrade sends `Connection: close` with each request that is not for a websocket. An "
        "empty value sends no Connection field, and the connection is kept.",
        keepalive_websocket_map,
        _pool(*_UPGRADE, "proxy_read_timeout 1h;", before=_map("close")),
        _pool(*_UPGRADE, "proxy_read_timeout 1h;", before=_map('""')),
        "http",
    ),
    Rule(
        "websocket-without-upgrade",
        WARNING,
        "a websocket location that does not pass Upgrade and Connection on",
        "Upgrade and Connection belong to one connection and are not forwarded automatically. Without them the "
        "application sees a plain GET. A location counts as one for websockets when it sets Upgrade, or by its path: /ws, "
        "/websocket, /socket.io, /sockjs, /cable.",
        websocket_without_upgrade,
        _pool("proxy_http_version 1.1;", before=_map('""'), path="/ws/"),
        _pool(*_UPGRADE, "proxy_read_timeout 1h;", before=_map('""'), path="/ws/"),
        "http",
    ),
    Rule(
        "websocket-read-timeout",
        INFO,
        "a websocket that is cut after 60 seconds of silence",
        "proxy_read_timeout also applies to a tunnel: the application must not be silent for longer. It is 60 s by "
        "default. Many servers ping (socket.io and SockJS after 25 s, Action Cable after 3, Phoenix after 30), and then the "
        "default is enough; a websocket that may be silent needs more. Up to 30 s it is a warning on a usual websocket path.",
        websocket_read_timeout,
        _pool(*_UPGRADE, before=_map('""'), path="/ws/"),
        _pool(*_UPGRADE, "proxy_read_timeout 1h;", before=_map('""'), path="/ws/"),
        "http",
    ),
    Rule(
        "timeout-zero",
        ERROR,
        "a timeout of 0 expires at once",
        "In nginx, and here, 0 does not turn these timeouts off: the time is over before anything can arrive, and requests "
        "get 504.",
        timeout_zero,
        "location / {\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n    proxy_read_timeout 0;\n}",
        "location / {\n    proxy_set_header Host $host;\n    proxy_pass http://127.0.0.1:3000;\n    proxy_read_timeout 1h;\n}",
    ),
]
