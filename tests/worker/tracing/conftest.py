"""A worker that traces before a scripted collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conversation import End, Peer, Stage, get, ok
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Traced:
    """A worker that traces, its collector, and what that has got."""

    def __init__(self, stage: Any, *, http: str = "", exporter: str = "", path: str = "/v1/traces", **more: Any) -> None:
        self.collector = Peer()
        block = f'[http.otel_exporter]\nendpoint = "http://{self.collector.name}{path}"\n{exporter}\n'
        self.s: Stage = stage(http=f"{http}\n{block}", **more)
        self.collector.stage = self.s
        self.s.worker.exporter.start()
        self.end: End | None = None
        self.upstream: End | None = None

    def exchange(self, *fields: bytes, target: bytes = b"/", answer: bytes | None = None) -> bytes:
        """Ask, let the upstream answer; return the head that it got."""
        client = self.s.client()
        client.send(get(target, *fields))
        self.upstream = upstream = self.upstream or self.s.peers[0].accept()
        head = upstream.receives_head()
        upstream.send(ok() if answer is None else answer)
        client.receives_head()
        client.close()
        return head

    def export(self, reply: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") -> ExportTraceServiceRequest:
        """The next request that the collector gets."""
        self.s.advance(5)
        return self.export_now(reply)

    def export_now(self, reply: bytes) -> ExportTraceServiceRequest:
        if self.end is None:
            self.end = self.collector.accept()
        self.end.stage.until(lambda: b"\r\n\r\n" in self.end.pull(), "no head")  # type: ignore[union-attr]
        data = bytes(self.end.take())
        self.head, _, body = data.partition(b"\r\n\r\n")
        length = int(next(line for line in self.head.split(b"\r\n") if line.lower().startswith(b"content-length")).split(b":")[1])
        while len(body) < length:
            body += self.end.take()
        self.end.send(reply)
        self.s.settle()
        return ExportTraceServiceRequest.FromString(body)

    def spans(self) -> list[dict[str, Any]]:
        """The spans of the next export, with their attributes as a dictionary."""
        self.last = self.export()
        (group,) = self.last.resource_spans
        self.last_spans = [shown(span) for span in group.scope_spans[0].spans]
        return self.last_spans

    def close(self) -> None:
        self.collector.close()


def shown(span: Any) -> dict[str, Any]:
    found = {
        name: getattr(span, name) for name in ("name", "kind", "trace_id", "span_id", "parent_span_id", "trace_state", "flags")
    }
    found["status"] = span.status.code
    for each in span.attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        found[each.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@pytest.fixture
def traced(stage: Callable[..., Stage]) -> Iterator[Callable[..., Traced]]:
    """Make workers that trace; see Traced."""
    made: list[Traced] = []

    def make(**settings: Any) -> Traced:
        made.append(Traced(stage, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
