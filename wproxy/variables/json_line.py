"""`$wproxy_json`: everything about a request that is over as one JSON object, for `log_format wproxy_json`.

Numbers are bare, and what is not known is null.
"""

from __future__ import annotations

import json
from typing import Any

from wproxy.end_causes import end_code_of
from wproxy.http import Attempt, Request
from wproxy.variables.clock import time_iso8601
from wproxy.variables.registry import REQUEST, variable
from wproxy.variables.request import request_id

_PROTOCOLS = {9: "HTTP/0.9", 10: "HTTP/1.0", 11: "HTTP/1.1", 20: "HTTP/2.0"}


def text(value: bytes | None) -> str | None:
    """Return bytes as text, whatever they are; null for none."""
    return None if value is None else value.decode("utf-8", "replace")


def seconds(value: float | None) -> float | None:
    """Return seconds in milliseconds' precision."""
    return None if value is None else round(max(0.0, value), 3)


def attempt_of(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt at a peer."""
    return {
        "addr": attempt.peer,
        "status": attempt.status or None,
        "connect_time": seconds(attempt.connect_time),
        "header_time": seconds(attempt.header_time),
        "response_time": seconds(attempt.response_time),
        "bytes_sent": attempt.bytes_sent,
        "bytes_received": attempt.bytes_received,
        "code": attempt.end_code or None,
    }


@variable("wproxy_json", REQUEST)
def wproxy_json(request: Request) -> bytes:
    client, line, context = request.client, request.line, request.trace_context
    shown = {
        "time": text(time_iso8601(request)),
        "msec": round(client.clock.wall, 3),
        "request_id": text(request_id(request)),
        "trace_id": None if context is None else text(context.trace_id),
        "span_id": None if context is None else text(context.span_id),
        "connection": client.serial,
        "client": text(client.remote_addr),
        "client_port": client.remote_port or None,
        "method": text(line.method) or None,
        "uri": text(line.target) or None,
        "request": text(line.line),
        "protocol": _PROTOCOLS.get(request.version),
        "scheme": text(client.scheme),
        "host": text(request.host) or None,
        "server": request.server.name or None,
        "location": request.location.pattern or None,
        "status": request.status or None,
        "end_code": end_code_of(request) or None,
        "end_cause": request.end_cause or None,
        "request_time": seconds(client.clock.now - request.started),
        "request_length": request.request_length,
        "bytes_sent": request.bytes_sent,
        "body_bytes_sent": request.body_bytes_sent,
        "attempts": [attempt_of(attempt) for attempt in request.attempts],
        "user_agent": text(request.fields.get(b"user-agent")),
        "referer": text(request.fields.get(b"referer")),
    }
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
