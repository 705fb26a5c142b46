"""Upstreams changed while they serve, with four workers: at once in all of them, for good, and without a request lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Wproxy, until
from test_whole_pool import Pool, pool  # noqa: F401 (a fixture)
from wire import Closed, Load, Wire, ask

from wproxy.__main__ import main

pytestmark = pytest.mark.whole

WORKERS = 4


class Api:
    """The API of a running wproxy, over its unix socket."""

    def __init__(self, front: Wproxy) -> None:
        self.path = str(front.directory / "run/wproxy-api.sock")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered below /http/upstreams."""
        data = None if body is None else json.dumps(body).encode()
        with Wire(self.path) as wire:
            answer = wire.request(method, f"/api/9/http/upstreams{path}", body=data)
        assert answer.status in (200, 201), answer
        return answer.json

    def servers(self, upstream: str = "pool") -> dict[str, dict[str, Any]]:
        """By address."""
        return {server["server"]: server for server in self.ask("GET", f"/{upstream}/servers")}

    def change(self, server: str, upstream: str = "pool", **parameters: Any) -> None:
        self.ask("PATCH", f"/{upstream}/servers/{self.servers(upstream)[server]['id']}", parameters)

    def remove(self, server: str, upstream: str = "pool") -> None:
        self.ask("DELETE", f"/{upstream}/servers/{self.servers(upstream)[server]['id']}")

    def add(self, server: str, upstream: str = "pool", **parameters: Any) -> None:
        self.ask("POST", f"/{upstream}/servers", {"server": server, **parameters})


def one_client_of_each_worker(front: Wproxy) -> dict[str, Wire]:
    """By the worker's pid a connection to it that is kept."""
    wires: dict[str, Wire] = {}
    surplus = []

    def has_all() -> bool:
        wire = Wire(front.port)
        pid = wire.request("GET", "/").all("x-worker")[0]
        if pid in wires:
            surplus.append(wire)
        wires.setdefault(pid, wire)
        return len(wires) == WORKERS

    until(has_all, "a connection to each worker")
    for wire in surplus:
        wire.close()
    return wires


def names(wires: dict[str, Wire], count: int = 4) -> set[str]:
    """The peers that answer, asked through every worker."""
    return {wire.request("GET", "/").body.decode().split()[0] for wire in wires.values() for _ in range(count)}


def address(pool: Pool, name: str) -> str:  # noqa: F811
    return f"127.0.0.1:{pool.ports['abc'.index(name)]}"


def http(pool: Pool, more: str = "") -> str:  # noqa: F811
    return pool.http(more=f"add_header = [['X-Worker', '$pid', 'always']]\n{more}")


def test_a_change_holds_in_every_worker_when_it_is_answered_and_survives_them(start, pool):  # noqa: F811
    front = start(http(pool), workers=WORKERS)
    api = Api(front)
    wires = one_client_of_each_worker(front)
    chance = random.Random(7)
    present = set("abc")
    away: set[str] = set()
    for _ in range(40):
        name = chance.choice("abc")
        server = address(pool, name)
        if name not in present:
            api.add(server)
            present.add(name)
            away.discard(name)
        elif name in away:
            api.change(server, down=False, drain=False, weight=chance.randint(1, 5))
            away.discard(name)
        elif present - away == {name}:
            continue
        elif chance.random() < 0.3:
            api.remove(server)
            present.discard(name)
        else:
            api.change(server, **{chance.choice(("down", "drain")): True})
            away.add(name)
        assert names(wires, 2) <= present - away, (present, away)
    for wire in wires.values():
        wire.close()

    # From here on one of three serves.
    for name in "bc":
        if address(pool, name) in api.servers():
            api.remove(address(pool, name))
    if "a" not in present:
        api.add(address(pool, "a"))
    api.change(address(pool, "a"), down=False, drain=False, weight=3)
    before = api.servers()

    old = front.worker_pids()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(front.worker_pids() - old) == WORKERS, "new workers")
    wires = one_client_of_each_worker(front)
    assert names(wires) == {"a"}
    assert api.servers() == before
    for wire in wires.values():
        wire.close()

    assert front.reload().code == 0
    wires = one_client_of_each_worker(front)
    assert names(wires) == {"a"}
    assert set(api.servers()) == set(before)
    for wire in wires.values():
        wire.close()

    # The file has changed what it says of b: that server is as the file has it, the others as they were set.
    port = pool.ports[1]
    assert front.reload(front.http.replace(f'"127.0.0.1:{port}" = {{ ', f'"127.0.0.1:{port}" = {{ weight = 2, ')).code == 0
    wires = one_client_of_each_worker(front)
    assert names(wires, 8) == {"a", "b"}
    for wire in wires.values():
        wire.close()


def change_at_random(api: Api, pool: Pool, seconds: float) -> int:  # noqa: F811
    """Drain, stop, remove, add and weigh two of three servers, again and again; how many changes were made."""
    chance = random.Random(11)
    began = time.monotonic()
    changes = 0
    while time.monotonic() - began < seconds:
        server = address(pool, chance.choice("bc"))
        known = api.servers()
        if server not in known:
            api.add(server, weight=chance.randint(1, 4))
        elif known[server]["down"] or known[server]["drain"]:
            api.change(server, down=False, drain=False)
        else:
            deed = chance.choice(("drain", "down", "remove", "weight"))
            if deed == "remove":
                api.remove(server)
            else:
                api.change(server, **{deed: chance.randint(1, 9) if deed == "weight" else True})
        changes += 1
    return changes


def test_no_request_fails_while_servers_are_drained_removed_added_and_weighed(start, pool):  # noqa: F811
    front = start(http(pool), workers=WORKERS)
    with Load(front.port, clients=64) as load:
        load.wait_for(64)
        changes = change_at_random(Api(front), pool, 4.0)
        load.wait_for(64)
    assert load.failures == []
    assert load.again == 0, "no connection of a client was closed either"
    assert changes > 20
    assert load.answers > 500


@pytest.mark.soak
def test_no_request_fails_in_a_minute_of_changes_and_reloads(start, pool):  # noqa: F811
    front = start(http(pool), workers=WORKERS)
    api = Api(front)
    with Load(front.port, clients=64) as load:
        load.wait_for(64)
        for _ in range(12):
            assert change_at_random(api, pool, 5.0) > 5
            assert front.reload().code == 0
        load.wait_for(64)
    assert load.failures == []
    assert "no live upstreams" not in front.error_log


def add_persistently(api: Api, server: str) -> None:
    """Add a server; again when the worker that was asked has been killed, which may have added it."""
    while True:
        try:
            with Wire(api.path) as wire:
                body = json.dumps({"server": server}).encode()
                if wire.request("POST", "/api/9/http/upstreams/pool/servers", body=body).status in (201, 409):
                    return
        except (Closed, OSError):
            time.sleep(0.01)


def test_changes_made_at_once_are_all_made_though_workers_are_killed_meanwhile(start, recorder):
    front = start(
        f"""
        [http.upstream.pool]
        server = "127.0.0.1:{recorder.port}"
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/"]
        proxy_pass = "http://pool"
        """,
        workers=WORKERS,
    )
    api = Api(front)
    wanted = [[f"127.0.{thread}.{number}:9" for number in range(1, 13)] for thread in range(4)]

    def add_all(servers: list[str]) -> None:
        for server in servers:
            add_persistently(api, server)

    threads = [threading.Thread(target=add_all, args=(servers,)) for servers in wanted]
    for thread in threads:
        thread.start()
    chance = random.Random(3)
    for _ in range(6):
        victim = chance.choice(sorted(until(front.worker_pids, "a worker")))
        os.kill(victim, signal.SIGKILL)
        until(lambda victim=victim: victim not in front.worker_pids(), "its end")
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    until(lambda: len(front.worker_pids()) == WORKERS, "all workers again")
    servers = api.servers()
    assert set(servers) == {f"127.0.0.1:{recorder.port}", *(server for some in wanted for server in some)}
    ids = [server["id"] for server in servers.values()]
    assert len(set(ids)) == len(ids)
    peers = api.ask("GET", "/pool")["peers"]
    assert len(peers) == len(servers)


# The command.


def test_the_command_says_what_there_is_and_changes_it(start, pool, capsys):  # noqa: F811
    front = start(http(pool), workers=2)
    first, second = address(pool, "a"), address(pool, "b")
    mode = stat.S_IMODE(os.stat(front.directory / "run/wproxy-api.sock").st_mode)
    assert mode == 0o600

    def command(*words: str) -> tuple[int, str, str]:
        """The exit code, and what is said on stdout and stderr; in this process, which is quicker."""
        code = main(["upstream", *words, "-c", str(front.file)])
        return (code, *capsys.readouterr())

    def run(*words: str) -> str:
        code, output, errors = command(*words)
        assert (code, errors) == (0, "")
        return output

    lines = run("list").splitlines()
    assert lines[0].split()[:4] == ["UPSTREAM", "SERVER", "STATE", "WEIGHT"]
    assert [line.split()[:4] for line in lines[1:]] == [["pool", address(pool, name), "up", "1"] for name in "abc"]
    assert run("drain", "pool", first) == f"wproxy: {first} of pool is draining\n"
    front.error_logged(f'upstream "pool" is changed: -{first} fail_timeout=1s +{first} fail_timeout=1s drain')
    assert run("weight", "pool", second, "7") == f"wproxy: {second} of pool has the weight 7\n"
    assert run("remove", "pool", address(pool, "c")) == f"wproxy: {address(pool, 'c')} removed from pool\n"
    assert run("add", "pool", "127.0.0.1:9", "weight=2", "backup") == "wproxy: 127.0.0.1:9 added to pool\n"
    listed = json.loads(run("list", "pool", "--json"))
    assert [(peer["server"], peer["state"], peer["weight"], peer["backup"]) for peer in listed["pool"]["peers"]] == [
        (first, "draining", 1, False),
        (second, "up", 7, False),
        ("127.0.0.1:9", "up", 2, True),
    ]
    shown = front.command("status").output
    assert shown.endswith("\nUPSTREAM  PEERS\npool      1 draining, 2 up\neach peer: wproxy upstream list\n")
    assert front.status()["upstreams"] == {"pool": {"draining": 1, "up": 2}}
    run("up", "pool", first)
    run("down", "pool", second)
    assert [line.split()[2] for line in run("list", "pool").splitlines()[1:]] == ["up", "down", "up"]

    for words, reason in (
        (("drain", "nope", first), 'upstream "nope" not found'),
        (
            ("drain", "pool", "1.2.3.4:5"),
            f'no server "1.2.3.4:5" in upstream "pool", its servers: {first}, {second}, 127.0.0.1:9',
        ),
        (("weight", "pool", first, "0"), 'invalid "weight" value'),
        (("weight", "pool", first, "much"), '"much" is not a number'),
        (("weight", "pool", first), "usage: wproxy upstream weight NAME SERVER N"),
        (("add", "pool", first), f'server "{first}" exists already'),
        (("add", "pool", "127.0.0.1:8", "wait=2"), 'unknown parameter "wait"'),
        (("turn", "pool"), 'unknown action "turn", choose from: list, drain, down, up, weight, add, remove'),
    ):
        assert command(*words) == (1, "", f"wproxy: [error] {reason}\n")
    done = front.command("upstream", "list")
    assert (done.code, done.output, done.errors) == (0, run("list"), "")
    assert front.command("stop").code == 0
    code, output, errors = command("list")
    assert (code, output) == (1, "")
    assert errors.startswith("wproxy: [error] no server listens on ")
    assert errors.count("\n") == 1
    assert not (front.directory / "run/wproxy-api.sock").exists()


def test_over_tcp_who_may_not_is_refused(start, recorder):
    front = start(
        f"""
        [http.upstream.pool]
        server = "127.0.0.1:{recorder.port}"
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/api"]
        api = "write=on"
        allow = "192.0.2.0/24"
        deny = "all"
        [http.server.location."/mine"]
        api = "write=on"
        allow = "127.0.0.1"
        deny = "all"
        """
    )
    assert ask(front.port, "/api/9/http/upstreams").status == 403
    assert ask(front.port, "/api/9/http/upstreams/pool/servers/0", "PATCH", b'{"down": true}').status == 403
    assert ask(front.port, "/mine/9/http/upstreams/pool/servers/0", "PATCH", b'{"weight": 4}').json["weight"] == 4
    front.error_logged("access forbidden by rule", 2)


# The state file.


STATE = """
    [http.upstream.pool]
    state = "state/pool.conf"
    [[http.server]]
    listen = "127.0.0.1:{port}"
    [http.server.location."/"]
    proxy_pass = "http://pool"
    """


def state_of(front: Wproxy) -> str:
    return (front.directory / "state/pool.conf").read_text()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that nobody finds the way into; pytest's are for their owner alone."""
    path = Path(tempfile.mkdtemp(prefix="wproxy-api-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_the_state_file_survives_stop_and_start(open_directory, pool, user):  # noqa: F811
    with Wproxy(open_directory, STATE, workers=2, user=user) as front:
        change_stop_and_start(front, pool)


def change_stop_and_start(front: Wproxy, pool: Pool) -> None:  # noqa: F811
    api = Api(front)
    assert ask(front.port).status == 502
    api.add(address(pool, "a"), weight=5)
    api.add(address(pool, "b"), backup=True)
    api.add(address(pool, "c"))
    api.change(address(pool, "c"), drain=True)
    api.remove(address(pool, "b"))
    expected = f"server {address(pool, 'a')} weight=5;\nserver {address(pool, 'c')} drain;\n"
    assert state_of(front) == expected
    assert front.reload().code == 0
    api.change(address(pool, "a"), weight=4)
    expected = expected.replace("weight=5", "weight=4")
    assert state_of(front) == expected
    servers = api.servers()
    assert front.command("stop").code == 0
    front.program.wait()
    front.start()
    assert api.servers() == servers
    assert ask(front.port).body.startswith(b"a ")
    assert state_of(front) == expected


def test_a_state_file_that_cannot_be_written_is_reported_and_nothing_is_changed(start, pool):  # noqa: F811
    front = start(STATE, workers=2)
    api = Api(front)
    api.add(address(pool, "a"))
    directory = front.directory / "state"
    with FullDisk(directory):
        before = state_of(front)
        done = front.command("upstream", "weight", "pool", address(pool, "a"), "9")
        assert done.code == 1
        assert done.errors == (
            f'wproxy: [error] state file "{directory}/pool.conf" cannot be written (28: No space left on device), '
            "nothing is changed\n"
        )
        assert state_of(front) == before
        assert [path.name for path in directory.iterdir() if path.name.startswith("pool")] == ["pool.conf"]
        assert api.servers()[address(pool, "a")]["weight"] == 1
        assert ask(front.port).status == 200
        front.error_logged("No space left on device")
    api.change(address(pool, "a"), weight=9)
    assert "weight=9" in state_of(front)


class FullDisk:
    """A small disk over a directory, its files copied to it and the rest of it full."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> FullDisk:
        files = {path.name: path.read_bytes() for path in self.directory.iterdir()}
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(self.directory)], capture_output=True)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")
        for name, data in files.items():
            (self.directory / name).write_bytes(data)
        with open(self.directory / "filling", "wb", buffering=0) as filling:
            try:
                while filling.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.directory)], check=True)
