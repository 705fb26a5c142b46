"""Rules about what shows the server's state, or changes it: api, dashboard, metrics, stub_status."""

from __future__ import annotations

from collections.abc import Iterator

from wproxy.check.blocks import Block, Blocks
from wproxy.check.finding import ERROR, INFO, WARNING, Found, Rule

_GUARDS = ("allow", "deny", "auth_basic", "auth_request", "auth_jwt", "ssl_verify_client")
_FIX = 'add "allow" for those who may, and "deny all;"'


def is_guarded(block: Block) -> bool:
    """Whether something decides who gets to a block."""
    return any(block.effective(name) for name in _GUARDS)


def open_control(blocks: Blocks) -> Iterator[Found]:
    """Find locations in which everybody changes upstreams, or sees how they are."""
    for block in blocks.locations:
        if is_guarded(block) or block.is_internal:
            continue
        for node in block.own("api", "dashboard"):
            writes = "write=on" in node.arguments
            if node.name == "dashboard" and writes:
                reason = "nothing decides who may use it, so that it answers to clients on this machine only"
                yield Found(node.position, reason, _FIX, WARNING)
            elif writes:
                yield Found(node.position, "everybody who reaches it may drain, add and remove servers", _FIX)
            else:
                yield Found(
                    node.position, "everybody who reaches it sees the servers behind this one and their state", _FIX, INFO
                )


_EXAMPLE = """upstream app {{
    zone app 64k;
    server 127.0.0.1:8000;
}}
server {{
    listen 80;
    location /api {{
        api write=on;
{}    }}
}}"""

CONTROL_RULES = [
    Rule(
        "open-control",
        ERROR,
        "an api or a dashboard that everybody may use",
        "The API and the buttons of the dashboard drain, add and remove servers for every client that reaches them. Without "
        "allow, deny, a password or a certificate that is everybody. A dashboard with write=on and nothing of that kind answers "
        "to clients on this machine only; one without write=on shows the addresses of servers and why requests failed.",
        open_control,
        _EXAMPLE.format(""),
        _EXAMPLE.format("        allow 127.0.0.1;\n        deny all;\n"),
        around="http",
    ),
]
