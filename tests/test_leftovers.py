"""A test that fails is the only one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FAILING = """\
import gc, socket

class Circle:
    def __init__(self):
        self.itself, self.sock = self, socket.socket()

def test_that_fails():
    left = Circle()
    assert not left

def test_that_makes_many_objects():
    gc.collect()
"""


def test_what_a_failed_test_left_open_fails_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(FAILING)
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    words = ["-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
