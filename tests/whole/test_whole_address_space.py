"""A start within a small limit of address space (ulimit -v): it serves, or one line names the memory and the limit."""

from __future__ import annotations

import resource
import subprocess

import pytest
from harness import COMMAND, ENVIRONMENT, ROOT, Program
from wire import ask

from bench.ports import free_port

pytestmark = pytest.mark.whole

FILE = """
daemon = false
pid = "wproxy.pid"
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location."/"]
metrics = []
"""


def test_a_start_that_may_not_map_the_counters_says_so(tmp_path):
    limit = 370 << 20
    file = tmp_path / "wproxy.toml"
    file.write_text(FILE.replace("{port}", str(free_port())))
    done = subprocess.run(
        [*COMMAND, "start", "-c", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("wproxy: [emerg] mmap() of ")
    assert "for counters failed (12: Cannot allocate memory): raise the limit of address space, 370 MB now" in line


def test_600_mb_of_address_space_are_enough_for_counters(tmp_path):
    """Those of the slots in use: all that there may be would take 1.1 GB."""
    port = free_port()
    file = tmp_path / "wproxy.toml"
    file.write_text(FILE.replace("{port}", str(port)))
    program = Program(["sh", "-c", f"ulimit -v {600 << 10}; exec {' '.join(COMMAND)} start -c {file}"], tmp_path)
    try:
        program.wait_for_address(port)
        assert b"wproxy_http_requests_discarded_total" in ask(port).body
    finally:
        program.end()
