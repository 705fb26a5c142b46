"""Tracing as a whole: workers export over gRPC to a collector on grpcio, also what is left when they end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness import Program, Wproxy, free_port, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from wire import Wire, request_bytes

BACKENDS = Path(__file__).with_name("backends")


def exported(path: Path) -> list[str]:
    """The targets of the spans that the collector has got."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        key, _, message = line.partition(" ")
        assert key == "secret"
        for group in ExportTraceServiceRequest.FromString(bytes.fromhex(message)).resource_spans:
            for span in group.scope_spans[0].spans:
                found += [each.value.string_value for each in span.attributes if each.key == "http.target"]
    return found


@pytest.fixture
def collector(tmp_path):
    port = free_port()
    program = Program([sys.executable, str(BACKENDS / "otlp_collector.py"), str(port), str(tmp_path / "spans")], tmp_path)
    program.wait_for_address(port)
    yield port, tmp_path / "spans"
    program.end()


def test_spans_reach_a_collector_over_grpc_also_the_last_ones(collector, tmp_path):
    port, spans = collector
    http = f"""
otel_trace = "on"
[http.otel_exporter]
endpoint = "127.0.0.1:{port}"
interval = "100ms"
header = {{ X-Key = "secret" }}
[[http.server]]
listen = "127.0.0.1:{{port}}"
[http.server.location."/"]
return = [200, "hello"]
"""
    with Wproxy(tmp_path / "front", http) as front:
        with Wire(front.port) as wire:
            for number in range(3):
                wire.send(request_bytes("GET", f"/{number}"))
                wire.answer()
        until(lambda: sorted(exported(spans)) == ["/0", "/1", "/2"], "three spans")
        front.http = http.replace("100ms", "1h")
        front.write()
        assert front.command("reload").code == 0
        with Wire(front.port) as wire:
            wire.send(request_bytes("GET", "/last"))
            wire.answer()
        assert front.command("quit").code == 0
        assert exported(spans)[-1] == "/last"
        assert "OTel" not in front.error_log
