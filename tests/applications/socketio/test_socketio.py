"""socket.io on two nodes that share a Redis: what the transports need of the balancing, and what a life of connections brings."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from applications.client import Browser
from applications.fronts import Front, Fronts
from applications.programs import KEPT, Dialogue, Program, needed, node
from bench.ports import free_port

HERE = Path(__file__).parent
CLIENTS = 4
ROOM = {"forwarded": ["127.0.0.1"], "host": ["127.0.0.1:PORT"]}


@pytest.fixture(scope="module")
def packages() -> dict[str, str]:
    return {"NODE_PATH": needed(KEPT / "socketio" / "node_modules")}


class Nodes:
    """Two of them, with their ports by name."""

    def __init__(self, directory: Path, redis: int, packages: dict[str, str]) -> None:
        self.directory = directory
        self.environment = {**packages, "REDIS": str(redis)}
        self.ports = {"a": free_port(), "b": free_port()}
        self.running: dict[str, Program] = {}

    def start(self, name: str) -> None:
        port = self.ports[name]
        environment = {**self.environment, "NAME": name, "PORT": str(port)}
        self.running[name] = Program(f"node-{name}", [node(), HERE / "server.js"], self.directory, port, environment)

    def say(self, name: str, text: str) -> None:
        """Have a node say it to the room, wherever the clients are."""
        urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/say?room=room&text={text}", timeout=30).read()


@pytest.fixture(scope="module")
def nodes(directory: Path, redis: int, packages: dict[str, str]) -> Iterator[Nodes]:
    nodes = Nodes(directory, redis, packages)
    try:
        for name in nodes.ports:
            nodes.start(name)
        yield nodes
    finally:
        for program in nodes.running.values():
            program.end()


@pytest.fixture(scope="module")
def sticky(fronts: Callable[..., Fronts], nodes: Nodes) -> Fronts:
    return fronts(HERE / "sticky.conf", NODE_A=nodes.ports["a"], NODE_B=nodes.ports["b"])


@pytest.fixture(scope="module")
def in_turns(fronts: Callable[..., Fronts], nodes: Nodes) -> Fronts:
    return fronts(HERE / "round_robin.conf", NODE_A=nodes.ports["a"], NODE_B=nodes.ports["b"])


@contextmanager
def browsers(front: Front, nodes: Nodes) -> Iterator[Dialogue]:
    """A process that plays them."""
    dialogue = Dialogue(f"browsers-{front.name}", [node(), HERE / "client.js"], front.directory, nodes.environment)
    try:
        yield dialogue
    finally:
        dialogue.end()


def conversation(nodes: Nodes, mode: str) -> Callable[[Front], dict[str, object]]:
    """Connect by a transport, talk over all nodes, send much, stay, be thrown out and come back."""

    def flow(front: Front) -> dict[str, object]:
        with browsers(front, nodes) as browser:
            seen = {"connected": browser.ask("connect", front.url, mode, CLIENTS), "hear": browser.ask("say", "hello")}
            for name in nodes.ports:
                nodes.say(name, "over-redis")
                seen[f"hear {name}"] = browser.ask("heard", f"{name}: over-redis")
            seen["echo"] = browser.ask("echo", 1_000_000)
            seen["after pings"] = browser.ask("pings", 2)
            seen["drops"] = browser.ask("kick")
            browser.ask("leave")
            return seen

    return flow


def expected(nodes: list[str]) -> dict[str, object]:
    return {
        "connected": {"nodes": nodes, **ROOM},
        "hear": CLIENTS,
        "hear a": [1] * CLIENTS,
        "hear b": [1] * CLIENTS,
        "echo": CLIENTS,
        "after pings": CLIENTS,
        "drops": [1] + [0] * (CLIENTS - 1),
    }


@pytest.mark.parametrize("mode", ["upgrade", "polling", "websocket"])
def test_with_ip_hash_each_transport_works_and_one_node_has_all_sessions(sticky, nodes, mode):
    seen = sticky.compare(conversation(nodes, mode), logs=mode == "websocket")
    assert seen == expected(seen["connected"]["nodes"])
    assert len(seen["connected"]["nodes"]) == 1


def test_with_websockets_only_no_stickiness_is_needed_and_both_nodes_have_sessions(in_turns, nodes):
    assert in_turns.compare(conversation(nodes, "websocket")) == expected(["a", "b"])


@pytest.mark.parametrize("mode", ["upgrade", "polling"])
def test_long_polling_without_stickiness_fails_as_the_other_node_does_not_know_the_session(in_turns, nodes, mode):
    def flow(front: Front) -> dict[str, object]:
        with browsers(front, nodes) as browser:
            return browser.ask("refused", front.url, mode)

    # Which of its requests goes wrong first, a poll or a post, is a matter of luck.
    assert in_turns.compare(flow, {"xhr (poll|post) error": "xhr error"}, logs=False) == {"error": "xhr error", "status": 400}


def test_a_session_that_polling_has_opened_is_known_to_every_second_request(in_turns):
    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        opened = json.loads(browser.get("/socket.io/?EIO=4&transport=polling").body[1:])
        other = browser.get(f"/socket.io/?EIO=4&transport=polling&sid={opened['sid']}")
        own = browser.request("POST", f"/socket.io/?EIO=4&transport=polling&sid={opened['sid']}", b"40")
        return [opened["upgrades"], other, own]

    upgrades, other, own = in_turns.compare(flow, {"sid=[^ ]+": "sid=SESSION"})
    assert upgrades == ["websocket"]
    assert (other.status, json.loads(other.body)["message"]) == (400, "Session ID unknown")
    assert (own.status, own.body) == (200, b"ok")


def test_a_reload_drops_no_session(sticky, nodes):
    def flow(front: Front) -> list[object]:
        with browsers(front, nodes) as browser:
            browser.ask("connect", front.url, "websocket", CLIENTS)
            for _ in range(3):
                front.reload()
            return [browser.ask("say", "still here"), browser.ask("pings", 1), browser.ask("state"), browser.ask("leave")]

    assert sticky.compare(flow) == [CLIENTS, CLIENTS, {"connected": CLIENTS, "drops": [0] * CLIENTS}, CLIENTS]


def test_the_sessions_of_a_node_that_is_killed_come_back_on_the_other(in_turns, nodes):
    def flow(front: Front) -> list[object]:
        with browsers(front, nodes) as browser:
            browser.ask("connect", front.url, "websocket", CLIENTS)
            nodes.running["b"].end(signal.SIGKILL)
            try:
                return [browser.ask("returned", "a"), browser.ask("leave")]
            finally:
                nodes.start("b")

    assert in_turns.compare(flow, logs=False) == [CLIENTS, CLIENTS]
