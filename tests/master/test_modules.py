"""Modules that a worker loads after it has given up root's rights, from a Python that lies behind a closed door."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import importlib, os, sys
sys.path[:] = [sys.argv[1], *sys.path]
import package.early
from master.modules import hold_modules, keep_within_reach
held = hold_modules()
os.setgid(7001)
os.setuid(7001)
lost = keep_within_reach(held)
for name in ("package.late", "package.inner.late", "beside", "ctypes", "encodings.idna"):
    try:
        importlib.import_module(name)
    except ImportError as error:
        print("missing", error.name)
print("lost", *(path for path in lost if path.startswith(sys.argv[1])))
"""


@pytest.fixture
def modules(tmp_path):
    """A directory of modules that anybody may read, behind one that only root may enter."""
    closed = tmp_path / "closed"
    modules = closed / "modules"
    (modules / "package" / "inner").mkdir(parents=True)
    for name in ("package/__init__", "package/early", "package/late", "package/inner/__init__", "package/inner/late", "beside"):
        (modules / f"{name}.py").touch()
    for directory in (modules, modules / "package", modules / "package" / "inner"):
        directory.chmod(0o755)
    closed.chmod(0o700)
    return modules


def loaded(modules):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(modules)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_what_lies_behind_a_closed_door_is_found_all_the_same(modules):
    assert loaded(modules) == ["lost"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_what_the_user_may_not_read_itself_is_told(modules):
    modules.chmod(0o700)
    assert loaded(modules)[-1] == f"lost {modules}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_where_everything_is_open_nothing_changes(public_path):
    (public_path / "package").mkdir(0o755)
    for name in ("package/__init__", "package/early", "package/late", "beside"):
        (public_path / f"{name}.py").touch()
    assert loaded(public_path) == ["missing package.inner", "lost"]
