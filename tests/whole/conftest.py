"""What the end-to-end tests share: real servers, started once, and a check that nothing is left behind."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import harness
import pytest
from harness import BACKENDS, ENVIRONMENT, ROOT, Program, Wproxy, descendants, until
from recorder import Recorder

from bench.ports import free_port
from tests.prepared import Prepared, adopt_orphans

# Helpers whose assertions tell what they saw, as those of tests do.
pytest.register_assert_rewrite("started_examples")


@pytest.fixture(scope="package", autouse=True)
def adopted_orphans() -> Iterator[None]:
    """Daemons that a test starts become our children, so that they are seen when they stay."""
    adopt_orphans(True)
    yield
    adopt_orphans(False)


@pytest.fixture(scope="session")
def real_servers() -> Iterator[dict[str, Program]]:
    """The applications that are running, by name; they live until the end of the session."""
    running: dict[str, Program] = {}
    yield running
    for program in running.values():
        program.end()


@pytest.fixture(scope="package", autouse=True)
def prepared_process(adopted_orphans: None) -> Iterator[Prepared]:
    """Becomes most of the programs that tests start."""
    harness.prepared = Prepared(ENVIRONMENT, ROOT)
    yield harness.prepared
    harness.prepared.end()
    harness.prepared = None


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind(prepared_process: Prepared, real_servers: dict[str, Program]) -> Iterator[None]:
    """After a module, no process is there that was not there before, but for the applications."""
    before = descendants()
    yield
    kept = {program.pid for program in real_servers.values()} | {prepared_process.pid}

    def strangers() -> list[str]:
        return [
            repr(process)
            for process in descendants() - before
            if process.pid not in kept and not kept & {parent.pid for parent in process.parents()}
        ]

    until(lambda: not strangers(), lambda: f"no processes left behind, but there are {strangers()}", 5)


class Application:
    """A real server with our test application: where it listens, and what its framework is known to do differently."""

    def __init__(self, name: str, address: int | str) -> None:
        self.name = name
        self.address = address

    @property
    def url(self) -> str:
        """For proxy_pass."""
        return f"http://unix:{self.address}" if isinstance(self.address, str) else f"http://127.0.0.1:{self.address}"


@pytest.fixture(scope="session")
def applications(tmp_path_factory: pytest.TempPathFactory, real_servers: dict[str, Program]) -> Callable[[str], Application]:
    """Gives an application by its name; it is started when it is asked for the first time."""
    directory = tmp_path_factory.mktemp("applications")
    known: dict[str, Application] = {}

    def start_gunicorn() -> None:
        port, path = free_port(), str(directory / "gunicorn.sock")
        options = [
            "--workers",
            "1",
            "--threads",
            "8",
            "--keep-alive",
            "60",
            "--no-control-socket",
            "--worker-tmp-dir",
            "/dev/shm",
        ]
        command = [sys.executable, "-m", "gunicorn", *options, "-b", f"127.0.0.1:{port}", "-b", f"unix:{path}"]
        program = real_servers["gunicorn"] = Program([*command, "flask_app:app"], directory, cwd=BACKENDS)
        program.wait_for_address(port)
        known["flask"] = Application("flask", port)
        known["flask-unix"] = Application("flask-unix", path)

    def start_uvicorn() -> None:
        port = free_port()
        options = f"--host 127.0.0.1 --port {port} --log-level warning --no-access-log --no-proxy-headers".split()
        command = [sys.executable, "-m", "uvicorn", *options, "asgi_app:app"]
        program = real_servers["uvicorn"] = Program(command, directory, cwd=BACKENDS)
        program.wait_for_address(port)
        known["asgi"] = Application("asgi", port)

    def start_node() -> None:
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        port = free_port()
        program = real_servers["node"] = Program([node, str(BACKENDS / "node_app.js"), str(port)], directory)
        program.wait_for_address(port)
        known["node"] = Application("node", port)

    starts = {"flask": start_gunicorn, "flask-unix": start_gunicorn, "asgi": start_uvicorn, "node": start_node}

    def application(name: str) -> Application:
        if name not in known:
            starts[name]()
        return known[name]

    return application


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A backend inside the test, which keeps what it received and answers as the test says."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Wproxy]]:
    """Starts a wproxy on an [http] section; it is stopped after the test."""
    started: list[Wproxy] = []

    def start(http: str, **more: object) -> Wproxy:
        running = Wproxy(tmp_path / f"wproxy{len(started)}", http, **more)
        started.append(running)
        return running.__enter__()

    yield start
    for running in started:
        running.__exit__(None, None, None)
