"""The contestants: what each is started with, and what it is: which interpreter, built how, compiled or not; which nginx."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache

from bench.failure import BenchFailure
from bench.workloads import Workload

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

# What wproxy needs of an interpreter, beside the standard library.
_DEPENDENCIES = ("hpack", "psutil", "setproctitle", "tomli")

# Debian's packages are built with PGO by their own rules, and their sysconfig does not say so.
_ASK_PYTHON = """
import importlib.util, json, platform, sys, sysconfig
arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
distribution = sys.prefix == "/usr" and bool(sysconfig.get_config_var("MULTIARCH"))
print(json.dumps({"version": platform.python_version(), "minor": list(sys.version_info[:2]), "missing": missing,
    "pgo": "--enable-optimizations" in arguments, "distribution": distribution}))
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy to measure: its name in the report, and what starts it.

    kind: "wproxy", "nginx" or "haproxy". program: the interpreter of a wproxy, otherwise the proxy itself. tree: for wproxy, the
    place of its source or of what was built of it.
    """

    name: str
    kind: str
    program: str = ""
    tree: str = TREE
    environment: dict[str, str] = field(default_factory=dict, hash=False)

    def can_do(self, workload: Workload) -> bool:
        """Whether it has what the workload asks for."""
        return self.kind != "haproxy" or workload.by_haproxy

    def command(self, folder: str) -> list[str]:
        """Return the command that starts it in the foreground, configured by the file in this folder."""
        if self.kind == "nginx":
            return nginx_command(self.program, folder)
        if self.kind == "haproxy":
            return [self.program, "-db", "-f", f"{folder}/haproxy.cfg"]
        return [self.program, "-m", "wproxy", "start", "-c", f"{folder}/nginx.conf"]

    def shows_counters(self) -> str:
        """Return the directive that shows its counters; nothing where it has none."""
        if self.kind == "wproxy":
            return "metrics"
        return "stub_status" if "http_stub_status_module" in _output_of((self.program, "-V")) else ""

    def identity(self) -> str:
        """Return what it is, for the report."""
        if self.kind == "nginx":
            return f"nginx {_version_in(_output_of((self.program, '-v')))}"
        if self.kind == "haproxy":
            return f"HAProxy {_version_in(_output_of((self.program, '-v')))}"
        return f"wproxy {'compiled' if is_compiled(self) else 'interpreted'}, {identity_of_python(self.program)}"


def nginx_command(program: str, folder: str) -> list[str]:
    """Return the command that starts an nginx on the configuration in a folder."""
    return [program, "-p", folder, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


@cache
def _output_of(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except OSError as error:
        raise BenchFailure(f"{command[0]} cannot be run: {error.strerror}") from None
    return done.stdout + done.stderr


def _version_in(text: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found[0] if found else "?"


@cache
def _facts_of(python: str) -> dict[str, object]:
    """Return what an interpreter tells of itself."""
    text = _output_of((python, "-c", _ASK_PYTHON, *_DEPENDENCIES))
    try:
        facts: dict[str, object] = json.loads(text)
    except ValueError:
        raise BenchFailure(f"{python} is no Python that could tell what it is: {text.strip()[-500:]}") from None
    return facts


def is_pgo(python: str) -> bool:
    """Whether an interpreter was built with the profile of a run."""
    facts = _facts_of(python)
    return bool(facts["pgo"] or facts["distribution"])


def identity_of_python(python: str) -> str:
    """Return the version of an interpreter, and how it was built."""
    facts = _facts_of(python)
    how = "its distribution's, with PGO" if facts["distribution"] else "with PGO" if facts["pgo"] else "without PGO"
    return f"CPython {facts['version']} ({how})"


def environment_of(python: str) -> dict[str, str]:
    """Return what has to be set so that an interpreter finds what wproxy needs; ours lends it, where the versions agree."""
    facts = _facts_of(python)
    if not facts["missing"]:
        return {}
    if facts["minor"] != list(sys.version_info[:2]):
        missing = " ".join(map(str, facts["missing"]))  # type: ignore[call-overload]
        raise BenchFailure(f"{python} lacks {missing}: make a venv of it and install them there")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    return {"PYTHONPATH": os.pathsep.join(ours)}


def is_compiled(contestant: Contestant) -> bool:
    """Whether a wproxy's modules are native."""
    done = subprocess.run(
        [contestant.program, "-c", "import worker.loop; print(worker.loop.__file__)"],
        cwd=contestant.tree, env={**os.environ, **contestant.environment}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    if done.returncode:
        raise BenchFailure(f"{contestant.tree} has no wproxy that starts: {done.stderr.strip()[-500:]}")
    return not done.stdout.strip().endswith(".py")


def wproxy(name: str, python: str, tree: str = TREE) -> Contestant:
    """Return a wproxy under an interpreter."""
    program = shutil.which(python)
    if program is None:
        raise BenchFailure(f"there is no Python at {python}")
    return Contestant(name, "wproxy", os.path.abspath(program), os.path.abspath(tree), environment_of(program))


def nginx(name: str, path: str = "") -> Contestant:
    """Return an nginx: the one at a path, or the machine's own."""
    return Contestant(name, "nginx", find_nginx(path))


def find_nginx(path: str = "") -> str:
    """Return the path of an nginx."""
    found = shutil.which(path or "nginx", path=SYSTEM_PATH)
    if found is None:
        raise BenchFailure(f"there is no nginx at {path}" if path else "nginx is not installed: apt-get install nginx-light")
    return os.path.abspath(found)


def haproxy() -> Contestant | None:
    """Return HAProxy, where it is installed."""
    found = shutil.which("haproxy", path=SYSTEM_PATH)
    return Contestant("haproxy", "haproxy", found) if found else None
