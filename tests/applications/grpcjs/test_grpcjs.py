"""gRPC between the two implementations that share no code: @grpc/grpc-js and grpcio, as clients and as servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.fronts import Front, Fronts
from applications.programs import KEPT, ROOT, Program, needed, node
from bench.ports import free_port

HERE = Path(__file__).parent
BACKENDS = ROOT / "tests" / "whole" / "backends"
COMMON = {
    "unary": "hello",
    "an error status": "FAILED_PRECONDITION: not now: x 100% ü",
    "server stream": ["0", "1", "2", "3", "4"],
    "a long server stream": 5000,
    "client stream": "6",
    "both ways, in turns": ["WORD 0", "WORD 1", "WORD 2", "WORD 3"],
    "a deadline": "DEADLINE_EXCEEDED",
    "a cancelled call": 1,
    "a large answer": 3_000_000,
    "a large message": 3_000_000,
    "a hundred calls at once": 100,
}
TOLD_NODE = {
    "trailers": [["yes"], ["00ff"]],
    "a method that is not there": "UNIMPLEMENTED",
    "metadata": 2,
    "no server": "UNAVAILABLE: no server is there",
}


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"NODE_PATH": needed(KEPT / "grpcjs" / "node_modules")}


@pytest.fixture(scope="module", params=["grpc-js", "grpcio"])
def server(request, directory: Path, run: Callable[[Program], Program], environment: dict[str, str]) -> tuple[str, int]:
    """The name of a server, and its port."""
    port = free_port()
    command = [node(), HERE / "server.js"] if request.param == "grpc-js" else [sys.executable, BACKENDS / "grpc_server.py"]
    run(Program(request.param, [*command, str(port)], directory, port, environment))
    return request.param, port


@pytest.fixture(scope="module")
def site(server: tuple[str, int], fronts: Callable[..., Fronts]) -> Fronts:
    return fronts(HERE / "nginx.conf", CALLS=server[1], DEAD=free_port())


def calls(front: Front, command: list[str | Path], environment: dict[str, str]) -> dict[str, object]:
    """Return what became of each call of a client."""
    words = [*map(str, command), str(front.port)]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_calls_of_node_go_through(site, environment):
    # How often a client asks whether its call was cancelled is a matter of time, and so are the lines of its calls.
    found = site.compare(lambda front: calls(front, [node(), HERE / "client.js"], environment), logs=False)
    assert found == {**COMMON, **TOLD_NODE}


def test_calls_of_grpcio_go_through_to_node(site, server, environment):
    if server[0] == "grpcio":
        pytest.skip("tests/whole/test_whole_grpc.py has those")
    found = site.compare(lambda front: calls(front, [sys.executable, BACKENDS / "grpc_client.py"], environment), logs=False)
    assert {name: found[name] for name in COMMON} == COMMON
    assert found["trailers"] == ["x-last-bin=b'\\x00\\xff'", "x-last='yes'"]
