"""`wproxy upgrade`, and the binary upgrade by signals: nobody loses anything, and nothing is left behind."""

import os
import re
import signal
import struct
import sys
from pathlib import Path

import psutil
import pytest
from harness import ENVIRONMENT, PATIENCE, Wproxy, is_alive, let_rest, title, until
from recorder import Conversation, Received, Recorder
from traffic import Traffic, backend, configuration
from wire import Load, Wire, ask, request_bytes

from bench.ports import free_port
from master.memory import open_memory_of
from tests.name_server import NameServer, silence
from tests.public_python import parts_of_the_house
from wproxy.dns import A
from wproxy.shared import HEAD_GENERATION, HEAD_MAGIC, HEAD_NEW_BINARY, HEAD_PREDECESSOR, HEAD_READY, HEAD_UPGRADES, MAGIC

pytestmark = pytest.mark.whole

TEXT = """
[[http.server]]
listen = "127.0.0.1:{port}"
location."/" = { return = [200, "here"] }
"""


class Daemon(Wproxy):
    """One in the background: `master` is whoever the pid file names."""

    def __init__(self, directory: Path, http: str, **more) -> None:
        super().__init__(directory, http, daemon=True, **more)

    def start(self) -> "Daemon":
        self.write()
        done = self.command("start")
        assert done.code == 0, done
        return self.follow()

    def follow(self) -> "Daemon":
        self.master = psutil.Process(int((self.directory / "wproxy.pid").read_text()))
        return self

    def end(self) -> str:
        if (self.directory / "wproxy.pid").exists():
            self.follow()
        family = self.family()
        if self.master is not None and is_alive(self.master):
            self.signal(signal.SIGTERM)
        until(lambda: not any(map(is_alive, family)), "an end of all processes")
        return self.error_log

    def head(self, word: int, pid: int | None = None) -> int:
        with open_memory_of(self.master.pid if pid is None else pid) as memory:
            return memory.shared.head(word)

    def upgrade(self) -> psutil.Process:
        """`wproxy upgrade`, and wait until the old master, which is returned, is gone."""
        old = self.master
        done = self.command("upgrade")
        assert done.code == 0, done
        self.follow()
        assert done.output.startswith(f"wproxy: upgraded: master process {self.master.pid} serves")
        assert self.master.pid != old.pid
        until(lambda: not is_alive(old), "the end of the old master", 60)
        until(lambda: self.head(HEAD_PREDECESSOR) == 0, "the new one knows")
        return old

    def roll_back(self) -> None:
        """Start a new binary, send our workers away, and think better of it, in the order of nginx's manual."""
        old = self.master
        self.signal(signal.SIGUSR2)
        until(lambda: self.head(HEAD_NEW_BINARY), "a new binary", 30)
        new = psutil.Process(self.head(HEAD_NEW_BINARY))
        until(lambda: self.head(HEAD_UPGRADES) and self.head(HEAD_READY, new.pid), "it serves", 30)
        self.signal(signal.SIGWINCH)
        until(lambda: not self.worker_pids(), "workers leave")
        self.signal(signal.SIGHUP)
        until(lambda: len(self.worker_pids()) == self.workers, "workers come back")
        new.send_signal(signal.SIGQUIT)
        until(lambda: self.head(HEAD_NEW_BINARY) == 0, "the new one leaves", 60)
        assert self.follow().master == old


@pytest.fixture
def started(tmp_path):
    running = []

    def start(http=TEXT, **more):
        front = Daemon(tmp_path / "front", http, **more)
        running.append(front)
        return front.start()

    yield start
    for front in running:
        errors = front.end()
        assert "Traceback" not in errors and "bug ended" not in errors, errors


def links(pid):
    """Where the descriptors of a process lead. One that is closed meanwhile is none, and a process that ends has none."""
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found.append((os.readlink(f"/proc/{pid}/fd/{name}"), os.stat(f"/proc/{pid}/fd/{name}").st_ino))
            except FileNotFoundError:
                pass
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def possessions(front):
    """What the family has that can leak: processes, kinds of descriptors of the master, memories and sockets that exist."""
    family = front.family()
    workers = [link for pid in front.worker_pids() for link, _ in links(pid)]
    return {
        "processes": len(family),
        "descriptors": sorted(link.partition(":")[0].partition(" ")[0] for link, _ in links(front.master.pid)),
        "memories": len({inode for one in family for link, inode in links(one.pid) if link.startswith("/memfd")}),
        "of workers": len([link for link in workers if link.startswith(("pipe", "/memfd"))]),
    }


def upgrades_under_load(front, traffic, count, answers):
    """So many upgrades, with a roll-back after the first; everybody goes on meanwhile."""
    for number in range(count):
        traffic.wait(answers)
        front.upgrade()
        traffic.wait(answers)
        if number == 0:
            front.roll_back()
            traffic.wait(answers)


@pytest.fixture
def served(started, tmp_path):
    program, port = backend(tmp_path / "echo")
    (tmp_path / "front").mkdir()
    yield started(configuration(tmp_path / "front", port))
    program.end()


def test_upgrades_and_a_roll_back_under_every_kind_of_load_cost_nobody_anything(served):
    let_rest(served.master)  # the command has returned, and what told it so is closed
    before = possessions(served)
    with Traffic(served.port) as traffic:
        upgrades_under_load(served, traffic, 1, 30)
    assert traffic.failures == []
    # A pipe that traffic has used is kept for two looks of its worker's, five seconds apart.
    until(lambda: possessions(served) == before, lambda: f"{possessions(served)} is not {before}", 3 * PATIENCE)
    assert served.head(HEAD_GENERATION) == 2


@pytest.mark.soak
def test_five_upgrades_with_a_roll_back_under_64_clients_cost_nobody_anything(served):
    let_rest(served.master)  # the command has returned, and what told it so is closed
    before = possessions(served)
    with Traffic(served.port, keepalive=32, single=16, downloads=8, websockets=8) as traffic:
        upgrades_under_load(served, traffic, 5, 300)
    assert traffic.failures == []
    # A pipe that traffic has used is kept for two looks of its worker's, five seconds apart.
    until(lambda: possessions(served) == before, lambda: f"{possessions(served)} is not {before}", 3 * PATIENCE)


def test_a_download_that_outlives_the_upgrade_is_finished_by_the_old_master(started, tmp_path):
    front = started('[[http.server]]\nlisten = "127.0.0.1:{port}"\nroot = "' + str(tmp_path) + '"')
    (tmp_path / "big").write_bytes(b"x" * 30_000_000)
    old = front.master
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/big"))
        wire.sock.recv(1)
        done = front.command("upgrade")
        assert done.code == 0 and f"the old one, {old.pid}, finishes 1 request in 1 worker" in done.output, done
        front.follow()
        again = front.command("upgrade")
        assert again.code == 1 and "the last upgrade is not over" in again.errors
        status = front.status()
        assert status["other_master"] == old.pid
        assert {worker["master"] for worker in status["workers"]} == {old.pid, front.master.pid}
        assert len(b"".join([b"H", *iter(lambda: wire.sock.recv(1 << 20), b"")])) > 30_000_000
    until(lambda: not is_alive(old), "the end of the old master")


def test_a_configuration_that_the_new_master_cannot_load_is_named_and_nothing_changes(started):
    front = started()
    workers, master = front.worker_pids(), front.master
    front.http = TEXT.replace("return", "retrun")
    front.write()
    done = front.command("upgrade")
    assert done.code == 1
    assert f'unknown directive "retrun", did you mean "return"? in {front.file}:' in done.errors, done
    assert "exited with code 1" in done.errors
    assert front.follow().master == master and front.worker_pids() == workers
    assert not (front.directory / "wproxy.pid.oldbin").exists()
    assert ask(front.port, "/").body == b"here"


def test_a_program_that_is_broken_is_named_and_nothing_changes(tmp_path):
    """A module that is gone after an installation: the reason comes from Python, not from us."""
    source = tmp_path / "source"
    source.mkdir()
    for part in parts_of_the_house():
        (source / part.name).symlink_to(part)
    front = Daemon(tmp_path / "front", TEXT)
    front.write()
    environment = {**ENVIRONMENT, "PYTHONPATH": str(source)}
    program = run([sys.executable, "-m", "wproxy", "start", "-c", str(front.file)], environment)
    assert program.returncode == 0
    front.follow()
    try:
        (source / "master").unlink()
        (source / "master").mkdir()
        (source / "master" / "__init__.py").write_text("import a_module_that_is_not_there\n")
        done = front.command("upgrade")
        assert done.code == 1 and "No module named 'a_module_that_is_not_there'" in done.errors, done
        assert ask(front.port, "/").body == b"here"
    finally:
        front.end()


def run(command, environment):
    import subprocess

    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, cwd="/")


def test_in_the_foreground_the_command_refuses_and_says_why(start):
    front = start(TEXT)
    done = front.command("upgrade")
    assert done.code == 1 and "it runs in the foreground" in done.errors, done
    assert ask(front.port, "/").status == 200


def test_a_link_named_nginx_is_upgraded_as_nginx(tmp_path):
    """By the script's path, so that what the link leads to by then is started."""
    link = tmp_path / "nginx"
    script = tmp_path / "wproxy"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom wproxy.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    link.symlink_to(script)
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log notice; env NOTHING;\n"
        f"events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; return 200 here; }} }}\n"
    )
    words = [str(link), "-c", str(tmp_path / "nginx.conf"), "-g", "worker_processes 1;", "-p", str(tmp_path)]
    assert run(words, ENVIRONMENT).returncode == 0
    old = psutil.Process(int((tmp_path / "nginx.pid").read_text()))
    old.send_signal(signal.SIGUSR2)
    pid = tmp_path / "nginx.pid"
    until(lambda: pid.exists() and pid.read_text().strip() != str(old.pid), "a new master")
    new = psutil.Process(int(pid.read_text()))
    until(lambda: open_head(new.pid, HEAD_READY), "it serves")
    assert title(new) == title(old) == f"nginx: master process {' '.join(words)}"
    script.write_text(f"#!{sys.executable}\nraise SystemExit('this one is broken')\n")
    old.send_signal(signal.SIGQUIT)
    until(lambda: not is_alive(old), "the end of the old one")
    until(lambda: open_head(new.pid, HEAD_PREDECESSOR) == 0, "the new one knows")
    new.send_signal(signal.SIGUSR2)
    until(lambda: "said: this one is broken" in (tmp_path / "error.log").read_text(), "the new program was tried")
    assert ask(port, "/").body == b"here"
    assert run([*words[:1], "-s", "stop", *words[1:]], ENVIRONMENT).returncode in (0, 1)
    if is_alive(new):
        new.terminate()
    until(lambda: not is_alive(new), "the end")


def open_head(pid, word):
    with open_memory_of(pid) as memory:
        return memory.shared.head(word)


def test_a_peer_that_failed_still_rests_after_an_upgrade(started, recorder):
    dead = free_port()
    front = started(
        f"""
        [http.upstream.app]
        server = {{ "127.0.0.1:{dead}" = {{ max_fails = 1, fail_timeout = "1h" }}, "{recorder.url.removeprefix("http://")}" = {{}} }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ proxy_pass = "http://app" }}
        """
    )
    for _ in range(4):
        assert ask(front.port, "/before").status == 200
    front.upgrade()
    for _ in range(10):
        assert ask(front.port, "/after").status == 200
    until(lambda: sum("/after" in line.request for line in front.access_log) == 10, "log lines")
    assert any(str(dead) in line.upstream for line in front.access_log if "/before" in line.request)
    assert not any(str(dead) in line.upstream for line in front.access_log if "/after" in line.request)


def test_requests_that_a_limit_has_counted_stay_counted_after_an_upgrade(started, tmp_path):
    (tmp_path / "index.html").write_text("here")
    tmp_path.chmod(0o755)
    front = started(
        f"""
        limit_req_zone = [["$arg_k", "zone=upgraded:32k", "rate=1r/m"]]
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ root = "{tmp_path}", limit_req = [["zone=upgraded", "burst=1", "nodelay"]] }}
        """
    )
    assert [ask(front.port, "/?k=a").status for _ in range(3)] == [200, 200, 503]
    assert ask(front.port, "/?k=b").status == 200
    front.upgrade()
    assert [ask(front.port, "/?k=a").status, ask(front.port, "/?k=b").status, ask(front.port, "/?k=b").status] == [503, 200, 503]


def create_session(conversation: Conversation, received: Received) -> None:
    session = b"X-Session: one\r\n" if received.target == "/create" else b""
    conversation.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % session)


def test_sessions_addresses_and_changes_of_upstreams_outlive_an_upgrade_and_a_roll_back(started):
    """The name server answers once and is silent then: who begins later has the address from those before it."""
    names = NameServer()
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    with names.in_background(), Recorder() as one, Recorder() as two, Recorder() as three:
        peers = []
        for each in (one, two, three):
            each.reply = create_session
            peers.append(f"127.0.0.1:{each.port}")
        front = started(
            f"""
            resolver = ["127.0.0.1:{names.port}", "ipv6=off"]
            resolver_timeout = "1s"
            [http.upstream.learned]
            zone = ["learned", "1m"]
            server = {{ "{peers[0]}" = {{}}, "{peers[1]}" = {{}}, "{peers[2]}" = {{}} }}
            sticky = ["learn", "create=$upstream_http_x_session", "lookup=$arg_session", "zone=sessions:1m"]
            [http.upstream.named]
            zone = ["named", "1m"]
            server = {{ "app.test:{one.port}" = {{ resolve = true }} }}
            [[http.server]]
            listen = "127.0.0.1:{{port}}"
            location."/" = {{ proxy_pass = "http://learned" }}
            location."/named" = {{ proxy_pass = "http://named" }}
            """
        )
        assert ask(front.port, "/named").status == 200
        names.zone["app.test", A] = silence
        assert ask(front.port, "/create").status == 200
        home = front.logged("/create").upstream
        other = next(peer for peer in peers if peer != home)
        assert front.command("upstream", "down", "learned", other).code == 0

        def check(path: str) -> None:
            for _ in range(8):
                assert ask(front.port, f"{path}?session=one").status == 200
                assert ask(front.port, f"{path}-new").status == 200
            assert ask(front.port, f"/named{path}").status == 200
            until(lambda: sum(path in line.request for line in front.access_log) == 17, "log lines")
            asked = {line.upstream for line in front.access_log if f"{path}?session=one" in line.request}
            assert asked == {home}
            assert not any(other in line.upstream for line in front.access_log if f"{path}-new" in line.request)

        front.upgrade()
        check("/after-upgrade")
        front.roll_back()
        check("/after-roll-back")


@pytest.mark.skipif(not Path("/usr/sbin/nginx").exists(), reason="nginx is not installed")
def test_a_running_nginx_is_replaced_by_wproxy_and_back_without_a_refused_connection(tmp_path):
    """By the signals of nginx's manual: what a link named nginx leads to is what USR2 starts."""
    script, link, pid = tmp_path / "wproxy", tmp_path / "nginx", tmp_path / "nginx.pid"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom wproxy.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"{user} pid {pid}; error_log {tmp_path}/error.log notice; env PYTHONPATH; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port}; listen unix:{tmp_path}/a.sock; return 200 $nginx_version; }} }}\n"
    )
    link.symlink_to("/usr/sbin/nginx")
    run([str(link), "-c", str(tmp_path / "nginx.conf")], ENVIRONMENT)
    masters = [until(lambda: master_of(pid), "nginx")]
    try:
        versions = [ask(port, "/").body]
        with Load(port, clients=2) as load:
            for program in (script, Path("/usr/sbin/nginx"), script):
                old = masters[-1]
                link.unlink()
                link.symlink_to(program)
                load.wait_for(50)
                old.send_signal(signal.SIGUSR2)
                until(lambda old=old: (master_of(pid) or old) != old, "a new master", 20)
                masters.append(until(lambda: master_of(pid), "its pid file"))
                until(masters[-1].children, "its workers", 20)
                load.wait_for(50)
                old.send_signal(signal.SIGQUIT)
                until(lambda old=old: not is_alive(old), "the end of the old one")
                versions.append(ask(port, "/").body)
                assert ask(f"{tmp_path}/a.sock", "/").body == versions[-1]
    finally:
        for master in masters:
            if is_alive(master):
                master.terminate()
                until(lambda master=master: not is_alive(master), "the end")
    assert load.failures == []
    assert versions[0] == versions[2] != versions[1] == versions[3]
    assert not (tmp_path / "a.sock").exists()  # it had become ours with the end of the nginx that made it


def master_of(pid_file: Path) -> psutil.Process | None:
    """The process that a pid file names; None while the file is written or renamed."""
    try:
        return psutil.Process(int(pid_file.read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None


def test_a_master_of_another_version_is_upgraded_by_its_pid_file_and_can_be_stopped(started):
    """Its memory cannot be read, and the new one begins with an empty memory of its own."""
    front = started()
    tamper(front.master.pid)
    assert "another version" in front.command("reload").errors
    old = front.master
    done = front.command("upgrade")
    assert done.code == 0 and f"upgraded: master process {front.follow().master.pid} serves" in done.output, done
    until(lambda: not is_alive(old), "the end of the old one")
    assert "has another layout: the health of peers and all counters start anew" in front.error_log
    tamper(front.master.pid)
    front.http = TEXT.replace("return", "retrun")
    front.write()
    done = front.command("upgrade")
    assert done.code == 1 and "the error log of the old one says why" in done.errors, done
    assert ask(front.port, "/").body == b"here"
    assert front.command("stop").code == 0


def tamper(pid):
    """Make the memory of a master look like that of an earlier version."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:wproxy"):
            with open(f"/proc/{pid}/fd/{name}", "r+b", buffering=0) as file:
                file.seek(HEAD_MAGIC * 8)
                file.write(struct.pack("=Q", MAGIC - 1))


COUNTED = """
[http.upstream.app]
zone = ["app", "64k"]
server = "127.0.0.1:{port}"
[[http.server]]
listen = "127.0.0.1:{port}"
status_zone = "site"
[http.server.location]
"/" = { return = [200, "here"] }
"/app" = { proxy_pass = "http://app/" }
"/metrics" = { metrics = ["zones=locations", "compat=plus"] }
"""


class Watched:
    """The counters of a server, each of which must never fall."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.last: dict[str, float] = {}
        self.fallen: list[str] = []

    def look(self) -> dict[str, float]:
        page = ask(self.port, "/metrics").body.decode()
        for series, text in re.findall(r"^(\w+_(?:total|count|bucket|sum)\b[^#\n]*) ([0-9.e+-]+)$", page, re.MULTILINE):
            value, before = float(text), self.last.get(series, 0.0)
            if value < before:
                self.fallen.append(f"{series} from {before} to {value}")
            self.last[series] = value
        return self.last


@pytest.mark.parametrize("reloads", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_no_counter_falls_whatever_happens_to_the_workers_under_load(started, reloads):
    front = started(COUNTED, workers=2)
    watched = Watched(front.port)
    watched.look()
    with Load(front.port, clients=4, path="/app") as load:
        for number in range(reloads):
            if not number:
                front.upgrade()
                watched.look()
            assert front.reload().code == 0
            watched.look()
            load.wait_for(50)
            watched.look()
        for pid in front.worker_pids():
            os.kill(pid, signal.SIGKILL)
            until(lambda gone=pid: len(front.worker_pids() - {gone}) == 2, "a successor")
            watched.look()
    assert not watched.fallen
