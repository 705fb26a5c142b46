"""Rules about `upstream` blocks and the names in them (proxy.md §1.2, §4, §5)."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.address import Address, parse_address
from wproxy.check.blocks import Block, Blocks
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule
from wproxy.config.tree import Node, Position

WITHOUT_BACKUP = ("ip_hash", "hash", "random")
BALANCERS = (*WITHOUT_BACKUP, "least_conn", "least_time", "sticky")


def _with(upstream: Block, word: str) -> list[Node]:
    return [node for node in upstream.own("server") if word in node.arguments[1:]]


def balancer_with_backup(blocks: Blocks) -> Iterator[Found]:
    """Find a backup with a hash, which has no second choice."""
    for upstream in blocks.upstreams.values():
        for balancer in upstream.own(*WITHOUT_BACKUP):
            for server in _with(upstream, "backup"):
                reason = (
                    f'"{balancer.name}" ({balancer.position}) chooses among all servers and has no use for a backup: nginx '
                    "refuses the file with 'balancing method does not support parameter \"backup\"'"
                )
                yield Found(server.position, reason, f'leave out "backup", or balance with least_conn instead of {balancer.name}')


def sole_live_server(blocks: Blocks) -> Iterator[Found]:
    """Find a single usable server beside others that are down."""
    for upstream in blocks.upstreams.values():
        servers, down = upstream.own("server"), _with(upstream, "down")
        live = [server for server in servers if server not in down]
        if not down or len(live) != 1 or "backup" in live[0].arguments or "max_fails=0" in live[0].arguments:
            continue
        name = live[0].arguments[0] if live[0].arguments else ""
        reason = (
            f"{name} is the only server that is not down ({down[0].position}), but not the only one: the rule that failures "
            "of a sole server are ignored does not apply, and after max_fails failures clients get 502 for all of "
            "fail_timeout"
        )
        fix = f'comment the line{"s" if len(down) > 1 else ""} with "down" out, or write "max_fails=0" for {name}'
        yield Found(live[0].position, reason, fix)


def all_servers_down(blocks: Blocks) -> Iterator[Found]:
    """Find an upstream whose servers are all down."""
    for upstream in blocks.upstreams.values():
        servers = upstream.own("server")
        if servers and len(_with(upstream, "down")) == len(servers):
            reason = f'every server of upstream "{upstream.node.arguments[0]}" is down: every request gets 502'
            yield Found(upstream.node.position, reason, 'take "down" from a server that works')


def balancer_after_keepalive(blocks: Blocks) -> Iterator[Found]:
    """Find a balancing method after keepalive, which it replaces in nginx."""
    for upstream in blocks.upstreams.values():
        names = [node.name for node in upstream.node.children or ()]
        if "keepalive" not in names:
            continue
        for node in upstream.own(*BALANCERS):
            if names.index(node.name) > names.index("keepalive"):
                reason = f'"{node.name}" comes after "keepalive" and replaces it in nginx ("load balancing method redefined")'
                yield Found(node.position, reason, f'put "{node.name}" before "keepalive"')


def _is_name(address: Address) -> bool:
    return not address.is_numeric and address.host.lower() != "localhost"


def names_at_start(blocks: Blocks) -> Iterator[Found]:
    """Find names that must be found when the configuration is loaded."""
    seen: set[str] = set()
    for position, text, fix in _names(blocks):
        try:
            address = parse_address(text, 80)
        except ValueError:
            continue
        if _is_name(address) and address.host.lower() not in seen:
            seen.add(address.host.lower())
            reason = (
                f'"{address.host}" must be found at a start and at a reload, which fail otherwise (later changes of '
                "its addresses are followed; nginx would not notice them)"
            )
            yield Found(position, reason, fix)


def _names(blocks: Blocks) -> Iterator[tuple[Position, str, str]]:
    """Return (place, text, fix) of each address of a server or a proxy_pass that is looked up at load."""
    to_mend = 'set "upstream_start degraded;" to begin without it'
    for upstream in blocks.upstreams.values():
        for server in upstream.own("server"):
            is_left_to_workers = any(word == "resolve" or word.startswith("service=") for word in server.arguments)
            if server.arguments and not is_left_to_workers and not _begins_without_names(upstream):
                yield server.position, server.arguments[0], f'{to_mend}, or add "resolve" (nginx: with "zone" and "resolver")'
    for proxied in blocks.proxied:
        is_to_be_found = proxied.upstream is None and not proxied.has_variables and not _begins_without_names(proxied.block)
        if is_to_be_found and proxied.host:
            fix = f'{to_mend}; or, with "resolver", "set $backend {proxied.host};" and $backend in proxy_pass'
            yield proxied.node.position, proxied.host, fix


def _begins_without_names(block: Block) -> bool:
    return block.value("upstream_start") == "degraded"


UPSTREAM_RULES = [
    Rule(
        "ip-hash-backup",
        ERROR,
        "ip_hash, hash or random with a backup server",
        "These methods choose one of all servers by a hash and try the next when it fails; nginx refuses `backup` with them.",
        balancer_with_backup,
        "upstream app {\n    ip_hash;\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001 backup;\n}",
        "upstream app {\n    ip_hash;\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001;\n}",
        "http",
    ),
    Rule(
        "sole-live-server",
        WARNING,
        "a down server deprives a sole server of its privilege",
        "Failures of a server that is alone in its upstream are not counted: no other server can be asked. A server that is "
        "`down` counts as another, so the last live one is barred for fail_timeout after its first failure.",
        sole_live_server,
        "upstream app {\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001 down;\n}",
        "upstream app {\n    server 127.0.0.1:3000;\n}",
        "http",
    ),
    Rule(
        "all-servers-down",
        ERROR,
        "every server of an upstream is down",
        "A server that is `down` is never used. Without another, every request gets a 502, `no live upstreams`.",
        all_servers_down,
        "upstream app {\n    server 127.0.0.1:3000 down;\n}",
        "upstream app {\n    server 127.0.0.1:3000;\n}",
        "http",
    ),
    Rule(
        "balancer-after-keepalive",
        WARNING,
        "a balancing method after keepalive",
        "In nginx `keepalive` wraps the method that was named before it; a method named later replaces both.",
        balancer_after_keepalive,
        "upstream app {\n    keepalive 16;\n    least_conn;\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001;\n}",
        "upstream app {\n    least_conn;\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001;\n    keepalive 16;\n}",
        "http",
    ),
    Rule(
        "name-at-start",
        INFO,
        "a name without which the server does not start",
        "The addresses of a name in proxy_pass or in an upstream are looked up when the configuration is loaded, and a name "
        "server that does not answer then keeps the server from starting, as in nginx. Later wproxy follows the name by the TTL "
        "of its answers; nginx keeps the first addresses until a reload, unless the server has `resolve`.",
        names_at_start,
        "upstream app {\n    server app.internal.example.com:3000;\n}",
        "upstream app {\n    server 192.0.2.10:3000;\n}",
        "http",
    ),
]
