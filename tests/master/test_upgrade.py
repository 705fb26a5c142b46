"""The upgrade of the running program: two masters on one memory and the same sockets, until one of them leaves."""

import os
import signal
import socket
import struct
import subprocess
import sys

import psutil
import pytest
from running_master import NoMaster, RunningMaster, ask, connect, is_gone, is_refused, until

from master import upgrade_command
from master.pidfile import read_pid_file
from wproxy.address import Address, parse_listen_address
from wproxy.shared import (
    HEAD_GENERATION,
    HEAD_MAGIC,
    HEAD_NEW_BINARY,
    HEAD_PREDECESSOR,
    HEAD_READY,
    HEAD_REQUESTS,
    HEAD_UPGRADE_OUTCOME,
    HEAD_UPGRADES,
    MAGIC,
    SERVING,
    UPGRADE,
    WORKER_ACTIVE,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REQUESTS,
    WORKER_STATE,
)

pytestmark = pytest.mark.whole


class UpgradedMaster(RunningMaster):
    """A master under a service manager, which is what lets one in the foreground be replaced; and its successors."""

    def __init__(self, directory, **written):
        super().__init__(directory, **written)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"{directory}/notify")
        self.manager.settimeout(10)
        self.environment = {"NOTIFY_SOCKET": f"{directory}/notify"}
        self.oldbin = f"{self.pid_path}.oldbin"
        self.new = 0
        self.started: set[int] = set()  # all new masters

    def upgrade(self, pid=None):
        """USR2, and wait until the new master serves and the old one knows it; returns the new one's pid."""
        old = self.pid if pid is None else pid
        outcomes = self.head(HEAD_UPGRADES, old)
        os.kill(old, signal.SIGUSR2)
        until(lambda: self.head(HEAD_UPGRADES, old) > outcomes)
        assert self.head(HEAD_UPGRADE_OUTCOME, old) == 1, self.outcome(old)
        self.new = self.head(HEAD_NEW_BINARY, old)
        self.started.add(self.new)
        return self.new

    def outcome(self, pid=None):
        with self.memory(pid) as memory:
            return memory.shared.message(UPGRADE)

    def workers_of(self, master, state=SERVING):
        with self.memory(master) as memory:
            return {
                slot.get(WORKER_PID)
                for slot in memory.shared.workers()
                if slot.get(WORKER_MASTER) == master and slot.get(WORKER_STATE) == state
            }

    def slots(self, pid):
        """The worker of every slot in use."""
        with self.memory(pid) as memory:
            return [slot.get(WORKER_PID) for slot in memory.shared.workers()]

    def told(self, name):
        """The next datagram that says something about this name, as a dictionary."""
        while True:
            said = dict(line.split("=", 1) for line in self.manager.recv(1000).decode().splitlines())
            if name in said:
                return said

    def exit_code(self):
        """Without waiting for the end of its standard error, which a successor has, too."""
        return self.process.wait(15)

    def end(self):
        # The youngest first: it has the standard error that the end of the oldest is waited for on.
        for pid in {self.new, *self.started, *self.successors()} - {0}:
            end_family(pid)
        super().end()
        self.manager.close()

    def successors(self):
        try:
            return [child.pid for child in psutil.Process(self.pid).children() if "master process" in " ".join(child.cmdline())]
        except (psutil.NoSuchProcess, AssertionError):
            return []


def end_family(pid):
    """Kill a master with its workers and successors."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    until(lambda: all(is_gone(process.pid) for process in family))


@pytest.fixture
def unstarted(tmp_path):
    master = UpgradedMaster(str(tmp_path))
    yield master
    master.end()


@pytest.fixture
def master(unstarted):
    return unstarted.start()


def is_lost(master, pid):
    """Whether there is no such master any more."""
    try:
        master.memory(pid).close()
    except NoMaster:
        return True
    return False


# Both serve.


def test_a_new_master_serves_beside_the_old_one_on_the_same_sockets_and_memory(master):
    old_workers = set(master.workers())
    new = master.upgrade()
    assert read_pid_file(master.oldbin) == master.pid
    assert read_pid_file(master.pid_path) == new
    assert psutil.Process(new).ppid() == master.pid
    assert master.head(HEAD_READY, new) == 1
    assert (master.head(HEAD_NEW_BINARY), master.head(HEAD_PREDECESSOR, new)) == (new, master.pid)
    assert (master.head(HEAD_GENERATION), master.head(HEAD_GENERATION, new)) == (1, 2)
    assert master.workers_of(master.pid) == old_workers and len(master.workers_of(new)) == 2
    assert {ask(connect(master.address)).generation for _ in range(100)} == {1, 2}
    assert "signal 12 (SIGUSR2) received from" in master.log() and ", changing binary" in master.log()

    # The same command in the same directory, with the same sockets and nothing else.
    def links(pid):
        return sorted(os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))

    one, other = psutil.Process(master.pid), psutil.Process(new)
    assert (one.cwd(), one.cmdline(), one.exe()) == (other.cwd(), other.cmdline(), other.exe()), (
        "the titles have the words in them"
    )
    mine = [link for link in links(master.pid) if link.startswith(("socket:", "/memfd"))]
    assert [link for link in links(new) if link.startswith(("socket:", "/memfd"))] == mine
    assert len([link for link in links(new) if link.startswith("pipe:")]) <= 3, "its lifeline, and the standard error of the test"


def test_quit_to_the_old_completes_the_upgrade_and_its_clients_are_served(master):
    for _ in range(5):
        master.ask()
    client = connect(master.address)
    until(lambda: master.count(WORKER_ACTIVE) == 1)
    new = master.upgrade()
    master.signal(signal.SIGQUIT)
    until(lambda: not master.workers_of(master.pid))
    for _ in range(40):
        assert master.ask().generation == 2
    held = ask(client)
    assert held.generation == 1
    assert master.exit_code() == 0
    until(lambda: master.head(HEAD_PREDECESSOR, new) == 0)
    assert total(master, new) == 5 + 40 + 1, "what workers have counted survives"
    assert read_pid_file(master.pid_path) == new and not os.path.exists(master.oldbin)
    assert master.told("MAINPID")["MAINPID"] == str(master.pid), "at the start"
    assert master.told("MAINPID")["MAINPID"] == str(new), "by the old one, whom alone the manager believes"
    assert master.told("READY")["MAINPID"] == str(new)


def test_the_new_master_is_a_whole_one_it_reloads_and_is_replaced_in_turn(master):
    first = master.upgrade()
    master.signal(signal.SIGQUIT)
    assert master.exit_code() == 0
    until(lambda: master.head(HEAD_PREDECESSOR, first) == 0)
    requests = total(master, first)
    second = master.upgrade(first)
    os.kill(first, signal.SIGQUIT)
    until(lambda: is_gone(first) and master.head(HEAD_PREDECESSOR, second) == 0)
    assert master.head(HEAD_GENERATION, second) == 3
    master.write(text="changed")
    os.kill(second, signal.SIGHUP)
    until(lambda: master.head(HEAD_GENERATION, second) == 4)
    until(lambda: len(master.workers_of(second)) == 2)
    assert master.ask().text == "changed"
    until(lambda: total(master, second) == requests + 1)


def total(master, pid):
    """All requests ever counted in the memory."""
    with master.memory(pid) as memory:
        return memory.shared.total(HEAD_REQUESTS) + sum(slot.get(WORKER_REQUESTS) for slot in memory.shared.workers())


# Rolling back.


def test_quit_to_the_new_rolls_back(master):
    workers = set(master.workers())
    new = master.upgrade()
    os.kill(new, signal.SIGQUIT)
    while master.head(HEAD_NEW_BINARY):
        assert os.path.exists(master.pid_path), "at every moment"
    assert read_pid_file(master.pid_path) == master.pid and not os.path.exists(master.oldbin)
    assert set(master.workers()) == workers
    assert {master.ask().generation for _ in range(40)} == {1}
    assert f"new binary process {new} exited with code 0" in master.log()
    assert master.upgrade() != new, "and it may be tried again"


@pytest.fixture
def winched(unstarted):
    """One that heeds WINCH: who was given sockets through NGINX, be it none, counts as in the background."""
    unstarted.environment["NGINX"] = ""
    return unstarted.start()


@pytest.mark.parametrize("way", ("hup", "the new one leaves"))
def test_workers_that_winch_sent_away_come_back_once(winched, way):
    master = winched
    new = master.upgrade()
    master.signal(signal.SIGWINCH)
    until(lambda: not master.workers_of(master.pid))
    assert {master.ask().generation for _ in range(40)} == {2}
    if way == "hup":
        master.signal(signal.SIGHUP)
        until(lambda: len(master.workers_of(master.pid)) == 2)
        master.signal(signal.SIGHUP)
        until(lambda: "the workers of the old binary serve already" in master.log())
    os.kill(new, signal.SIGQUIT)
    until(lambda: master.head(HEAD_NEW_BINARY) == 0 and len(master.workers_of(master.pid)) == 2)
    assert len(psutil.Process(master.pid).children()) == 2
    assert {master.ask().generation for _ in range(40)} == {1}


def test_winch_alone_leaves_the_clients_waiting_in_the_queue(winched):
    winched.signal(signal.SIGWINCH)
    until(lambda: not winched.workers_of(winched.pid))
    client = connect(winched.address)
    winched.signal(signal.SIGHUP)
    assert ask(client).generation == 2
    assert "signal 28 (SIGWINCH) received" in winched.log() and ", stop accepting connections" in winched.log()


def test_winch_in_the_foreground_is_a_window_that_changed_its_size(master):
    master.signal(signal.SIGWINCH)
    until(lambda: "(SIGWINCH)" in master.log())
    assert next(line for line in master.log().splitlines() if "(SIGWINCH)" in line).endswith(f"received from {os.getpid()}")
    assert len(master.workers()) == 2


# New binaries that fail.


def test_one_that_cannot_load_its_configuration_changes_nothing_and_says_why(master):
    workers = set(master.workers())
    master.write(broken="unknown directive")
    master.signal(signal.SIGUSR2)
    until(lambda: master.head(HEAD_UPGRADES) == 1)
    assert master.head(HEAD_UPGRADE_OUTCOME) == 0
    first, second = master.outcome().splitlines()
    assert first.startswith("new binary process ") and first.endswith(" exited with code 1")
    assert second == f"unknown directive in {master.path}:3:5"
    assert first in master.log()
    assert read_pid_file(master.pid_path) == master.pid and not os.path.exists(master.oldbin)
    assert set(master.workers()) == workers and master.ask().generation == 1


def test_one_whose_workers_die_changes_nothing(master):
    master.write(bad_worker=[1, "exits"])
    master.signal(signal.SIGUSR2)
    until(lambda: master.head(HEAD_UPGRADES) == 1)
    assert "before it served" in master.outcome()
    assert read_pid_file(master.pid_path) == master.pid
    assert {master.ask().generation for _ in range(20)} == {1}


def as_before(master):
    """Whether the old master serves alone again."""
    return not master.successors() and read_pid_file(master.pid_path) == master.pid and not os.path.exists(master.oldbin)


def test_the_command_rolls_back_one_that_does_not_serve_in_time(master, monkeypatch, capsys):
    master.write(bad_worker=["all", "never serves"], ready_timeout=60.0)
    monkeypatch.setattr(upgrade_command, "START_TIMEOUT", 0.6)
    assert upgrade_command.upgrade(master.pid_path) == 1
    assert capsys.readouterr().err == "wproxy: [error] the new binary did not serve within 1 seconds, rolled back\n"
    until(lambda: as_before(master))
    assert master.ask().generation == 1


def possessions(pid):
    """The kinds of what a process has open."""
    links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return sorted(link.partition(":")[0] for link in links)


def test_a_worker_that_is_forked_beside_a_new_binary_has_none_of_its_pipes(master):
    before = master.workers_of(master.pid)
    victim = min(before)
    usual = possessions(victim)
    master.write(bad_worker=["all", "never serves"], ready_timeout=60.0)
    master.signal(signal.SIGUSR2)
    until(lambda: master.head(HEAD_NEW_BINARY))
    os.kill(victim, signal.SIGKILL)
    (heir,) = until(lambda: master.workers_of(master.pid) - before)
    assert possessions(heir) == usual


def command_of(master):
    """The command in a process of its own, which Ctrl-C reaches."""
    code = (
        "import signal, sys\nfrom master.upgrade_command import upgrade\n"
        f"signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(upgrade({master.pid_path!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    )


def has_pending(pid, number):
    """Whether the signal waits for the process, which is stopped."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> number - 1 & 1 for mask in masks)


def test_ctrl_c_of_the_command_rolls_back_what_the_master_has_not_begun(master):
    master.write(bad_worker=["all", "never serves"], ready_timeout=60.0)
    master.signal(signal.SIGSTOP)
    try:
        command = command_of(master)
        until(lambda: has_pending(master.pid, signal.SIGUSR2))
        command.send_signal(signal.SIGINT)
    finally:
        master.signal(signal.SIGCONT)
    assert command.communicate(timeout=20) == (None, b"")
    assert command.returncode == 130
    assert as_before(master)
    assert master.ask().generation == 1


def test_ctrl_c_of_the_command_rolls_back(master):
    master.write(bad_worker=["all", "never serves"], ready_timeout=60.0)
    command = command_of(master)
    until(lambda: master.successors() and os.path.exists(master.oldbin))
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=20) == (None, b"")
    assert command.returncode == 130
    assert as_before(master)
    assert master.ask().generation == 1


def test_one_whose_code_does_not_even_start_says_so(master, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys; sys.stderr.write('no module named x\\n'); sys.stderr.flush()\nimport os; os._exit(3)"
    )
    with RunningElsewhere(master, PYTHONPATH=str(broken)) as other:
        (broken / "off").unlink()
        other.signal(signal.SIGUSR2)
        until(lambda: other.head(HEAD_UPGRADES) == 1)
        assert other.outcome().splitlines()[1:] == ["no module named x"]
        assert "exited with code 3" in other.outcome()
        assert other.ask().generation == 1


class RunningElsewhere(UpgradedMaster):
    """A second master in a directory below, with an environment of its own."""

    def __init__(self, master, PYTHONPATH):
        directory = os.path.join(os.path.dirname(master.path), "other")
        os.mkdir(directory)
        super().__init__(directory)
        code = os.path.join(PYTHONPATH, "sitecustomize.py")
        with open(code) as file:
            text = file.read()
        with open(code, "w") as file:
            file.write(f"import os\nif not os.path.exists({os.path.join(PYTHONPATH, 'off')!r}):\n")
            file.writelines(f"    {line}\n" for line in text.splitlines())
        open(os.path.join(PYTHONPATH, "off"), "w").close()
        self.environment["PYTHONPATH"] = os.pathsep.join([PYTHONPATH, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.end()


# Refusals.


def test_a_second_upgrade_is_ignored_while_one_runs_by_the_old_and_by_the_new(master):
    new = master.upgrade()
    for pid in (master.pid, new):
        outcomes = master.head(HEAD_UPGRADES, pid)
        os.kill(pid, signal.SIGUSR2)
        until(lambda pid=pid, outcomes=outcomes: master.head(HEAD_UPGRADES, pid) > outcomes)
        assert master.head(HEAD_UPGRADE_OUTCOME, pid) == 0
    assert master.log().count("[crit]") == 2
    assert "the changing binary signal is ignored: you should shutdown or terminate before either" in master.log()
    assert "(SIGUSR2) received from" in master.log() and ", ignoring" in master.log()


def test_in_the_foreground_without_a_service_manager_it_is_ignored(unstarted):
    unstarted.environment = {"NOTIFY_SOCKET": ""}
    unstarted.start()
    unstarted.signal(signal.SIGUSR2)
    until(lambda: unstarted.head(HEAD_UPGRADES) == 1)
    assert unstarted.head(HEAD_UPGRADE_OUTCOME) == 0
    assert "foreground" in unstarted.outcome()
    assert read_pid_file(unstarted.pid_path) == unstarted.pid


def test_after_quit_there_are_no_upgrades_and_no_reloads(master):
    with connect(master.address) as held:
        until(lambda: master.count(WORKER_ACTIVE) == 1)
        master.signal(signal.SIGQUIT)
        for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH):
            master.signal(number)
        until(lambda: "(SIGWINCH)" in master.log() or "(SIGHUP)" in master.log())
        assert len(psutil.Process(master.pid).children()) <= 2
        held.sendall(b"hello\n")
        assert held.recv(100)
    assert master.exit_code() == 0
    assert "start new binary" not in master.log() and "[notice] " in master.log()


# Sockets.


def test_the_file_of_a_unix_socket_stays_while_another_master_has_it(unstarted, tmp_path):
    address = f"unix:{tmp_path}/a.sock"
    master = unstarted
    master.write(listen=[address])
    master.start()
    new = master.upgrade()
    os.kill(new, signal.SIGQUIT)
    until(lambda: master.head(HEAD_NEW_BINARY) == 0)
    assert master.ask().generation == 1, "rolled back"
    new = master.upgrade()
    master.signal(signal.SIGQUIT)
    assert master.exit_code() == 0
    assert master.ask().generation == 3, "completed"
    os.kill(new, signal.SIGTERM)
    until(lambda: is_gone(new))
    assert not os.path.exists(f"{tmp_path}/a.sock"), "the last one removes it"


def test_addresses_that_the_new_configuration_does_not_have_go_with_the_old_master(unstarted, tmp_path):
    master = unstarted
    kept = master.written["listen"][0]
    dropped = f"unix:{tmp_path}/dropped.sock"
    master.write(listen=[kept, dropped])
    master.start()
    master.write(listen=[kept])
    new = master.upgrade()
    assert ask(connect(Address(f"{tmp_path}/dropped.sock", -1))).generation == 1
    assert "inherited socket unix:" in master.log()
    master.signal(signal.SIGQUIT)
    assert master.exit_code() == 0
    until(lambda: not os.path.exists(f"{tmp_path}/dropped.sock"))
    assert ask(connect(parse_listen_address(kept))).generation == 2
    assert new == read_pid_file(master.pid_path)


def test_more_workers_get_clients_only_when_the_old_master_is_gone_and_fewer_serve_all_sockets(master):
    master.write(workers=4)
    new = master.upgrade()
    assert len(master.workers_of(new)) == 4
    indexes = {answer.index for answer in (master.ask() for _ in range(120)) if answer.generation == 2}
    assert indexes <= {0, 1}, "a roll-back would lose what waits in the sockets that the old one does not have"
    master.signal(signal.SIGQUIT)
    assert master.exit_code() == 0
    until(lambda: master.head(HEAD_PREDECESSOR, new) == 0)
    until(lambda: {master.ask().index for _ in range(60)} == {0, 1, 2, 3})
    master.write(workers=1)
    master.upgrade(new)
    os.kill(new, signal.SIGQUIT)
    until(lambda: is_gone(new))
    assert {(answer.generation, answer.index) for answer in (master.ask() for _ in range(60))} == {(3, 0)}, "all four sockets"


# Masters that die.


def test_the_old_master_is_killed_and_the_new_one_goes_on(master):
    old_workers = master.workers_of(master.pid)
    with connect(master.address) as held:
        until(lambda: master.count(WORKER_ACTIVE) == 1)
        new = master.upgrade()
        master.signal(signal.SIGKILL)
        master.exit_code()
        until(lambda: master.head(HEAD_PREDECESSOR, new) == 0)
        until(lambda: not os.path.exists(master.oldbin))
        held.close()
    until(lambda: all(is_gone(pid) for pid in old_workers))
    until(lambda: len(master.slots(new)) == 2)
    assert {master.ask().generation for _ in range(20)} == {2}
    os.kill(new, signal.SIGHUP)
    until(lambda: master.head(HEAD_GENERATION, new) == 3)


def test_the_new_master_is_killed_and_the_old_one_goes_on(master):
    new = master.upgrade()
    new_workers = master.workers_of(new)
    os.kill(new, signal.SIGKILL)
    until(lambda: master.head(HEAD_NEW_BINARY) == 0)
    assert f"new binary process {new} exited on signal 9" in master.log()
    until(lambda: all(is_gone(pid) for pid in new_workers))
    until(lambda: len(master.slots(master.pid)) == 2)
    assert read_pid_file(master.pid_path) == master.pid
    assert {master.ask().generation for _ in range(20)} == {1}
    master.signal(signal.SIGHUP)
    until(lambda: master.head(HEAD_GENERATION) == 2)


@pytest.mark.parametrize("kind", ("tcp", "unix"))
def test_after_a_killed_master_a_new_start_takes_the_addresses_over_at_once(unstarted, tmp_path, kind):
    if kind == "unix":
        unstarted.write(listen=[f"unix:{tmp_path}/a.sock"])
    unstarted.start()
    workers = unstarted.workers()
    first = unstarted.process
    held = connect(unstarted.address)
    until(lambda: unstarted.count(4) == 1)
    first.kill()
    first.communicate()
    unstarted.start()  # a stale pid file, a stale socket file, and an old worker that still has a client
    assert unstarted.ask().pid in unstarted.workers()
    assert read_pid_file(unstarted.pid_path) == unstarted.pid
    held.close()
    until(lambda: all(is_gone(pid) for pid in workers))
    assert not is_refused(unstarted.address)


# Another version.


def test_a_memory_of_another_layout_is_left_alone_and_that_is_said(master):
    for _ in range(3):
        master.ask()
    link = next(
        f"/proc/{master.pid}/fd/{name}"
        for name in os.listdir(f"/proc/{master.pid}/fd")
        if os.readlink(f"/proc/{master.pid}/fd/{name}").startswith("/memfd:wproxy")
    )
    with open(link, "r+b", buffering=0) as file:
        file.seek(HEAD_MAGIC * 8)
        file.write(struct.pack("=Q", MAGIC - 1))
        master.signal(signal.SIGUSR2)
        until(lambda: os.path.exists(master.pid_path) and read_pid_file(master.pid_path) != master.pid)
        new = master.new = read_pid_file(master.pid_path)
        until(lambda: not is_lost(master, new) and master.head(HEAD_READY, new))
        assert total(master, new) == 0
        assert "has another layout: the health of peers and all counters start anew" in master.log()
        master.signal(signal.SIGQUIT)
        assert master.exit_code() == 0
    assert master.ask().generation == 1


# Socket activation and `env`.


def activated(master, listening, variables):
    """Start it as a service manager does, with one listening socket as descriptor 3."""

    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); "
        "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    command = master.command()
    os.set_inheritable(listening.fileno(), True)
    master.command = lambda: [sys.executable, "-c", script, str(listening.fileno()), *command[1:]]
    master.environment |= variables
    master.pass_fds = (listening.fileno(),)
    return master.start()


@pytest.mark.parametrize("kind", ("tcp", "unix"))
def test_a_socket_that_a_service_manager_holds_is_served_and_stays(unstarted, tmp_path, kind):
    if kind == "unix":
        unstarted.write(listen=[f"unix:{tmp_path}/a.sock"])
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{tmp_path}/a.sock")
    else:
        listening = socket.create_server((unstarted.address.host, unstarted.address.port))
    listening.listen()
    with listening:
        early = connect(unstarted.address)
        activated(unstarted, listening, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})
        assert ask(early).generation == 1, "who came before the start is served"
        until(lambda: {unstarted.ask().index for _ in range(30)} == {0, 1})
        assert "inherited socket #3 (web) listens on" in unstarted.log()
        unstarted.signal(signal.SIGTERM)
        assert unstarted.exit_code() == 0
        waiting = connect(unstarted.address)  # the manager's copy still listens
        waiting.close()


def test_a_service_managers_socket_that_is_not_configured_is_closed_and_named(unstarted):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        activated(unstarted, listening, {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"})
        port = listening.getsockname()[1]
        assert f'inherited socket "web" on 127.0.0.1:{port} is not configured, closed' in unstarted.log()
        assert unstarted.ask().generation == 1


def test_sockets_named_by_nginx_are_taken_and_keep_it_in_the_foreground(unstarted):
    unstarted.write(daemon=True)
    with socket.create_server((unstarted.address.host, unstarted.address.port)) as listening:
        activated(unstarted, listening, {"NGINX": "3;"})
        assert unstarted.ask().generation == 1
        assert psutil.Process(unstarted.pid).is_running()


def test_the_service_manager_is_told_of_start_reload_and_stop(master):
    assert master.told("READY")["STATUS"] == "generation 1 serves with 2 workers"
    master.write(broken="broken")
    master.signal(signal.SIGHUP)
    assert int(master.told("RELOADING")["MONOTONIC_USEC"]) > 0
    assert master.told("READY")["STATUS"] == "generation 1 serves with 2 workers; a reload failed"
    master.write(broken=None)
    master.signal(signal.SIGHUP)
    master.told("RELOADING")
    assert master.told("READY")["STATUS"] == "generation 2 serves with 2 workers"
    master.signal(signal.SIGQUIT)
    assert master.told("STOPPING")
    assert master.exit_code() == 0


def test_workers_have_in_their_environment_what_env_names(unstarted):
    unstarted.environment |= {"SECRET": "x", "NAMED": "y", "TZ": "UTC"}
    unstarted.write(env=[["NAMED", None], ["GIVEN", "z"]], text="$SECRET/$NAMED/$GIVEN/$TZ")
    unstarted.start()
    assert unstarted.ask().text == "$SECRET/y/z/UTC"
    unstarted.upgrade()
    unstarted.signal(signal.SIGQUIT)
    assert unstarted.exit_code() == 0
    assert unstarted.ask().text == "$SECRET/y/z/UTC"
    with open(f"/proc/{unstarted.new}/environ", "rb") as file:
        assert b"SECRET=" not in file.read()
