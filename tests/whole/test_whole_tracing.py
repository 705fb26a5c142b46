"""Tracing as a whole: workers export over gRPC to a collector on grpcio, also what is left when they end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Program, Wproxy, free_port, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from wire import Wire, ask, request_bytes

from tests.authority import authority

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


@contextmanager
def collecting(tmp_path: Path, *files: Path) -> Iterator[tuple[int, Path]]:
    """A collector, and the file of what it has got. files: its key and certificate, for TLS."""
    port = free_port()
    words = [str(BACKENDS / "otlp_collector.py"), str(port), str(tmp_path / "spans"), *map(str, files)]
    program = Program([sys.executable, *words], tmp_path)
    try:
        program.wait_for_address(port)
        yield port, tmp_path / "spans"
    finally:
        program.end()


@pytest.fixture
def collector(tmp_path):
    with collecting(tmp_path) as found:
        yield found


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


def test_a_collector_with_tls_is_verified(tmp_path):
    root = authority("root")
    (tmp_path / "root.pem").write_bytes(root.pem)
    (tmp_path / "other.pem").write_bytes(authority("other").pem)
    certificate, key = root.issue("localhost", ["localhost"]).write(tmp_path, "collector")
    with collecting(tmp_path, key, certificate) as (port, spans):
        http = f"""
otel_trace = "on"
[http.otel_exporter]
endpoint = "https://localhost:{port}"
interval = "100ms"
header = {{ X-Key = "secret" }}
trusted_certificate = "{tmp_path}/other.pem"
[[http.server]]
listen = "127.0.0.1:{{port}}"
[http.server.location."/"]
return = [200, "hello"]
"""
        with Wproxy(tmp_path / "front", http, workers=1) as front:
            ask(front.port, "/distrusted")
            until(lambda: "OTel export failure: upstream: upstream SSL certificate verify error" in front.error_log, "a refusal")
            front.http = http.replace("other.pem", "root.pem")
            front.write()
            assert front.command("reload").code == 0
            ask(front.port, "/trusted")
            # Where localhost is two addresses, both rest for ten seconds after their failures.
            until(lambda: exported(spans) == ["/trusted"], lambda: f"a span:\n{front.error_log}", 30)
