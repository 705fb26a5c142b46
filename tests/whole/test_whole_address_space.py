"""A start within a small limit of address space (ulimit -v): one line that names the memory and the limit."""

from __future__ import annotations

import resource
import subprocess

import pytest
from harness import COMMAND, ENVIRONMENT, ROOT

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
    limit = 600 << 20
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
    assert "for counters failed (12: Cannot allocate memory): raise the limit of address space, 600 MB now" in line
