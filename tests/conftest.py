"""What tests of all rooms share."""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from wproxy.compiled import how_it_runs

_FAILED = pytest.StashKey[bool]()
_THRESHOLDS = gc.get_threshold()

# Bytecode is kept, whatever the environment says: the tests start hundreds of processes, and each would compile all of wproxy anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the option of `make imported`."""
    parser.addoption(
        "--only-import", action="store_true", help="import the files, which compiles them, and collect no test of them"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist begin the files in the order of their names, so that whole programs come first and the quick files last.

    By itself it begins with those of the most tests, which are the quick ones, and one process waits for the other's last long file.
    """
    config.option.loadscopereorder = False
    if config.option.only_import:
        config.pluginmanager.register(_OnlyImport())


class _OnlyImport:
    """Sees no test in any file."""

    def pytest_pycollect_makeitem(self) -> list[pytest.Item]:
        return []


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays to the end: it went through 27,000 tests dozens of times, and again in each fork."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_report_header() -> str:
    """Say which build is tested: interpreted, or with how many compiled modules."""
    return f"wproxy: {how_it_runs()}"


def pytest_pycollect_makemodule(module_path: Path) -> None:
    """Give generated examples as much time as they need, also to be generated: on a busy machine any of them may take longer than
    Hypothesis allows. A test has the settings that hold when its file is imported."""
    if b"hypothesis" in module_path.read_bytes():
        from hypothesis import HealthCheck, settings

        settings.register_profile("wproxy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("wproxy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that cannot hold where modules are compiled; each says why."""
    if how_it_runs() == "interpreted":
        return
    for item in items:
        for mark in item.iter_markers("interpreted_only"):
            item.add_marker(pytest.mark.skip(reason=f"interpreted only: {mark.args[0]}"))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note that a test has failed, in whichever of its parts."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.stash[_FAILED] = True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Clear away what a failed test has left open, which is no news.

    Warnings are errors here, and a socket that the collector closes belongs to whichever test is running then: after each failure
    an innocent test failed as well, mostly one that makes many objects.
    """
    result = yield
    gc.enable()  # what a test has done to the collector would hold for all that come after it
    gc.set_threshold(*_THRESHOLDS)
    if item.stash.get(_FAILED, False):
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)  # pytest keeps the last traceback here, and that all that the test had
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            gc.collect()
        finally:
            sys.unraisablehook = hook
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Fail the test that leaves the garbage collector off."""
    yield
    assert gc.isenabled(), "the garbage collector is left off"


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A new directory that every user can reach. Those of `tmp_path` are closed to strangers, and opening them does not last:
    each run of pytest that begins on this machine closes the directory that all have in common."""
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


DESCRIPTORS = 4096


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for thousands of descriptors, in this process and in those that it starts: an ordinary user begins with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"this user may open {hard} descriptors (ulimit -Hn), and the test needs {DESCRIPTORS}")
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
