"""A Python with wproxy in it that every user can run: ours where it is one, else a copy.

That of root often lies in root's home (pyenv), and so may the source tree; nobody else finds the way there.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OURS = ("wproxy", "master", "worker")
NEEDED = ("setproctitle", "psutil", "hpack")
# Parts of the standard library that are large, or whose copies would be of no use.
LEFT_OUT = ("site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "lib2to3", "config-*")


class PublicPython(NamedTuple):
    """Its path, and the variables that it needs."""

    path: str
    environment: dict[str, str]


@functools.cache
def public_python() -> PublicPython:
    """Find it or make it, once for a run of the tests."""
    ours = PublicPython(sys.executable, {"PYTHONPATH": str(ROOT)})
    if os.geteuid() != 0 or is_public(ours):
        return ours
    made = copy_of_ours()
    assert is_public(made), f"nobody can run {made.path}"
    return made


def is_public(python: PublicPython) -> bool:
    """Whether user nobody can run wproxy with it."""
    nobody = pwd.getpwnam("nobody")
    words = [python.path, "-c", f"import ctypes, {', '.join([*NEEDED, *OURS])}"]
    try:
        done = subprocess.run(
            words,
            cwd="/",
            env={**os.environ, **python.environment},
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def copy_of_ours() -> PublicPython:
    """A copy in /tmp, of what is needed; removed when the tests end."""
    top = Path(tempfile.mkdtemp(prefix="wproxy-python-", dir="/tmp"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    top.chmod(0o755)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    left_out = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(sysconfig.get_path("stdlib"), top / "lib" / version, ignore=left_out)
    dynamic = Path(sysconfig.get_config_var("DESTSHARED"))
    if not (top / "lib" / version / dynamic.name).exists():
        shutil.copytree(dynamic, top / "lib" / version / dynamic.name)
    modules = top / "modules"
    for path in parts_of_the_house():
        copy = shutil.copy if path.is_file() else functools.partial(shutil.copytree, ignore=left_out)
        copy(path, modules / path.name)
    for name in NEEDED:
        copy_module(name, modules)
    (top / "bin").mkdir()
    path = top / "bin" / version
    shutil.copy(os.path.realpath(sys.executable), path)
    environment = {"PYTHONPATH": str(modules)}
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
        shutil.copy(library, top / "lib")
        environment["LD_LIBRARY_PATH"] = str(top / "lib")
    open_to_all(top)
    return PublicPython(str(path), environment)


def parts_of_the_house() -> list[Path]:
    """Return all that a copy of wproxy has to have: its packages and, where it is compiled, what the modules of each group share."""
    return [*(ROOT / name for name in OURS), *ROOT.glob("wproxy_*.so")]


def copy_module(name: str, to: Path) -> None:
    """Copy an installed module or package."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    origin = Path(spec.origin)
    if spec.submodule_search_locations:
        shutil.copytree(origin.parent, to / name)
    else:
        shutil.copy(origin, to)


def open_to_all(top: Path) -> None:
    """Let everybody read what is below, whatever the rights of what it was copied from."""
    for directory, _, names in os.walk(top):
        os.chmod(directory, 0o755)
        for name in names:
            path = os.path.join(directory, name)
            os.chmod(path, 0o755 if os.access(path, os.X_OK) else 0o644)
