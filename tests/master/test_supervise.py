"""The life of a master: start, watch, stop."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from glob import glob

import psutil
import pytest
from running_master import RunningMaster, ask, connect, is_gone, is_refused, running_master, until

from master.pidfile import read_pid_file
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_CONNECTIONS,
    HEAD_GENERATION,
    HEAD_REQUESTS,
    STARTING,
    WORKER_ACTIVE,
    WORKER_PID,
    WORKER_TURNS,
)

pytestmark = pytest.mark.whole


@pytest.fixture
def master(tmp_path):
    with running_master(tmp_path) as master:
        yield master


@pytest.fixture
def unstarted(tmp_path):
    master = RunningMaster(str(tmp_path))
    yield master
    master.end()


def replaced(master, pid):
    """Wait until that worker is gone and the number of serving workers is what it was."""
    until(lambda: pid not in master.workers(None) and len(master.workers()) == 2)


# Start.


def test_all_workers_serve_after_the_start(master):
    assert master.head(HEAD_GENERATION) == 1
    answers = [master.ask() for _ in range(60)]
    assert {answer.pid for answer in answers} == set(master.workers())
    assert {answer.index for answer in answers} == {0, 1}


def test_processes_are_titled(master):
    def title(pid):
        return " ".join(psutil.Process(pid).cmdline()).rstrip()

    assert title(master.pid) == f"wproxy: master process {' '.join(master.command()[1:])}"
    assert {title(pid) for pid in master.workers()} == {"wproxy: worker process"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_access_logs_belong_to_the_workers_who_write_them(tmp_path):
    (tmp_path / "logs").mkdir()
    with running_master(tmp_path, access_logs=["logs/access.log", "off", "stdout"]) as master:
        path = tmp_path / "logs" / "access.log"
        assert path.owner() == "nobody"
        assert not os.path.exists(tmp_path / "off") and not os.path.exists(tmp_path / "stdout")
        path.rename(tmp_path / "logs" / "access.log.1")
        master.signal(signal.SIGUSR1)
        until(lambda: path.exists() and path.owner() == "nobody")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_workers_of_root_are_nobody_for_good(master):
    for pid in master.workers():
        process = psutil.Process(pid)
        assert process.username() == "nobody"
        assert set(process.uids()) == {process.uids().real} and set(process.gids()) == {process.gids().real}
        with open(f"/proc/{pid}/status") as file:
            status = file.read()
        assert re.search(r"CapEff:\s+0+\n", status)


def test_a_worker_has_the_signals_that_a_new_program_has(master):
    with open(f"/proc/{master.workers()[0]}/status") as file:
        masks = dict(re.findall(r"(Sig\w+):\s+(\w+)", file.read()))
    assert int(masks["SigBlk"], 16) == 0


def test_a_worker_keeps_open_only_the_sockets_that_it_serves(tmp_path):
    with running_master(tmp_path, workers=3) as master:

        def listening(pid):
            links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
            return {link for link in links if link.startswith("socket:")}

        of_workers = [listening(pid) for pid in master.workers()]
        assert [len(one) for one in of_workers] == [1, 1, 1]
        assert set.union(*of_workers) == listening(master.pid)


def test_a_wrong_configuration_is_told_with_its_place_and_without_a_traceback(unstarted):
    unstarted.write(broken='unknown directive "liste"')
    _, told = unstarted.launch().communicate(timeout=60)
    assert told == f'wproxy: [emerg] unknown directive "liste" in {unstarted.path}:3:5\n'
    assert unstarted.exit_code() == 1


def test_a_used_port_is_told_with_its_place(unstarted):
    unstarted.write(bind_pause=0.001)
    with socket.create_server(unstarted.address):
        _, told = unstarted.launch().communicate(timeout=60)
    assert told == (
        f"wproxy: [emerg] bind() to {unstarted.address} failed (98: Address already in use) in {unstarted.path}:1:1\n"
    )
    assert unstarted.exit_code() == 1


def test_a_port_that_becomes_free_in_time_is_taken(unstarted):
    with socket.create_server(unstarted.address):
        process = unstarted.launch()
        # It has tried once when it sleeps between two attempts and has no socket of its own yet.
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
    until(unstarted.is_ready)


def test_a_second_master_with_the_same_pid_file_is_refused_and_the_first_serves_on(master):
    second = subprocess.run(master.command(), capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert second.stderr == (f'wproxy: [emerg] wproxy is already running as process {master.pid}, says "{master.pid_path}"\n')
    assert read_pid_file(master.pid_path) == master.pid
    assert master.ask().generation == 1


def test_what_it_asks_for_and_would_be_unsafe_without_prevents_the_start(unstarted):
    unstarted.write(refusals=['"allow" does nothing yet', '"deny" does nothing yet'])
    _, told = unstarted.launch().communicate(timeout=60)
    assert told == 'wproxy: [emerg] "allow" does nothing yet\nwproxy: [emerg] "deny" does nothing yet\n'
    assert unstarted.exit_code() == 1
    assert not os.path.exists(unstarted.pid_path)


def test_warnings_are_told_at_the_start_and_logged(unstarted):
    unstarted.write(warnings=["conflicting server name"], daemon=True)
    started = subprocess.run(unstarted.command(), capture_output=True, text=True, timeout=60)
    assert (started.returncode, started.stderr) == (0, "wproxy: [warn] conflicting server name\n")
    pid = read_pid_file(unstarted.pid_path)
    os.kill(pid, signal.SIGTERM)
    until(lambda: is_gone(pid))
    assert unstarted.log().count("[warn]") == 1


# As nginx, with the log of `-e`.


def test_the_reason_of_a_failed_start_is_on_stderr_and_in_both_logs(unstarted, tmp_path):
    early = tmp_path / "early.log"
    unstarted.words = (str(early),)
    unstarted.write(bind_pause=0.001)
    reason = f"bind() to {unstarted.address} failed (98: Address already in use)"
    with socket.create_server(unstarted.address):
        _, told = unstarted.launch().communicate(timeout=60)
    assert told.startswith(f"nginx: [emerg] {reason}")
    assert told.count("\n") == 1
    for log in (early.read_text(), unstarted.log()):
        assert re.fullmatch(rf"\S+ \S+ \[emerg\] (\d+)#\1: {re.escape(reason)}.*\n", log)


@pytest.mark.parametrize("daemon", [False, True])
def test_a_reason_found_late_is_told_once_in_each_place(unstarted, tmp_path, daemon):
    early = tmp_path / "early.log"
    unstarted.words = (str(early),)
    unstarted.write(bad_worker=[1, "exits"], daemon=daemon)
    told = subprocess.run(unstarted.command(), capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert re.fullmatch(r"nginx: \[emerg\] worker process \d+ exited with code 7 before it served\n", told.stderr)
    for log in (early.read_text(), unstarted.log()):
        assert log.count("before it served") == 1


def test_a_log_that_both_name_gets_each_line_once(unstarted):
    unstarted.words = (unstarted.log_path,)
    unstarted.write(bad_worker=[1, "exits"], warnings=["w"])
    _, told = unstarted.launch().communicate(timeout=60)
    assert told.count("\n") == 2
    assert unstarted.log().count("before it served") == 1
    assert unstarted.log().count("[warn]") == 1


def test_with_the_log_on_stderr_lines_have_their_date_and_come_once(unstarted):
    unstarted.words = ("stderr",)
    unstarted.write(broken="this")
    _, told = unstarted.launch().communicate(timeout=60)
    assert re.fullmatch(rf"\S+ \S+ \[emerg\] (\d+)#\1: this in {unstarted.path}:3:5\n", told)


def test_its_processes_are_nginx_s_and_the_log_begins_with_who_it_is(tmp_path):
    master = RunningMaster(str(tmp_path))
    master.words = (f"{tmp_path}/early.log",)
    try:
        master.start()
        titles = [" ".join(psutil.Process(pid).cmdline()).rstrip() for pid in (master.pid, *master.workers())]
        assert titles == [f"nginx: master process {' '.join(master.command()[1:])}", *["nginx: worker process"] * 2]

        def links() -> list[str]:
            processes = (master.pid, *master.workers())
            return [os.readlink(path) for pid in processes for path in glob(f"/proc/{pid}/fd/*") if os.path.islink(path)]

        until(lambda: f"{tmp_path}/early.log" not in links())  # it is closed when clients are served already
        assert master.log_path in links()
        assert "[notice]" in master.log().splitlines()[0] and ": nginx/1.31.5, wproxy " in master.log().splitlines()[0]
    finally:
        master.end()


def test_the_pid_file_comes_after_the_sockets(unstarted):
    unstarted.launch()
    until(lambda: os.path.exists(unstarted.pid_path))
    connect(unstarted.address).close()


def test_a_stale_pid_file_is_overwritten(unstarted):
    with open(unstarted.pid_path, "w") as file:
        file.write(f"{os.getpid()}\n")  # alive, but no master
    unstarted.start()
    assert read_pid_file(unstarted.pid_path) == unstarted.pid


def test_a_start_whose_workers_die_fails_with_the_reason_and_leaves_nothing(unstarted):
    unstarted.write(bad_worker=[1, "exits"])
    _, told = unstarted.launch().communicate(timeout=60)
    assert re.fullmatch(r"wproxy: \[emerg\] worker process \d+ exited with code 7 before it served\n", told)
    assert unstarted.exit_code() == 1
    assert not os.path.exists(unstarted.pid_path)
    assert is_refused(unstarted.address)


REASON = "RuntimeError: this worker is bad"


@pytest.mark.parametrize("daemon", [False, True])
@pytest.mark.parametrize("master_process", [False, True])
def test_why_a_worker_cannot_begin_is_told_in_one_line_there_and_in_the_log(unstarted, daemon, master_process):
    unstarted.write(bad_worker=[0, "raises"], workers=1, daemon=daemon, master_process=master_process)
    told = subprocess.run(unstarted.command(), capture_output=True, text=True, timeout=60)
    how = r"worker process \d+ exited with code 1 before it served: " if master_process else ""
    assert told.returncode == 1
    assert re.fullmatch(rf"wproxy: \[emerg\] {how}{REASON}\n", told.stderr)
    assert re.findall(rf"\[emerg\] \d+#\d+: {how}{REASON}\n", unstarted.log())
    assert unstarted.log().count("[emerg]") == 1
    assert not os.path.exists(unstarted.pid_path)


def test_why_a_successor_cannot_begin_is_told_in_the_log(tmp_path):
    with running_master(tmp_path, bad_worker=[0, "raises when armed"], workers=1) as master:
        (tmp_path / "armed").touch()
        os.kill(master.workers()[0], signal.SIGKILL)
        until(lambda: re.search(rf"\[emerg\] .*worker process \d+ exited with code 1: {REASON}\n", master.log()))


def test_the_traceback_of_a_worker_goes_to_the_log(unstarted):
    unstarted.write(bad_worker=[0, "raises"])
    _, told = unstarted.launch().communicate(timeout=60)
    assert "Traceback" not in told
    assert re.search(r"\[alert\] .*worker process \d+ failed: Traceback[^$]*RuntimeError: this worker is bad", unstarted.log())


def test_a_start_may_be_stopped_before_it_serves(unstarted):
    unstarted.write(bad_worker=[0, "never serves"])
    unstarted.launch()
    until(lambda: os.path.exists(unstarted.pid_path) and len(unstarted.workers(None)) == 2)
    unstarted.signal(signal.SIGTERM)
    assert unstarted.exit_code() == 0
    assert not os.path.exists(unstarted.pid_path)


# In the background.


def start_in_background(master):
    """Run the command and return what it came to."""
    master.write(daemon=True)
    return subprocess.run(master.command(), capture_output=True, text=True, timeout=60)


def test_the_command_returns_when_the_daemon_serves(unstarted):
    started = start_in_background(unstarted)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    # No waiting here: everything is in place.
    pid = read_pid_file(unstarted.pid_path)
    answer = ask(connect(unstarted.address))
    daemon = psutil.Process(pid)
    try:
        assert answer.pid in [child.pid for child in daemon.children()]
        assert daemon.terminal() is None
        assert os.getsid(pid) == pid
        assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)] == [
            "/dev/null",
            "/dev/null",
            unstarted.log_path,
        ]
    finally:
        family = [pid, *(child.pid for child in daemon.children())]
        daemon.terminate()
        until(lambda: all(is_gone(one) for one in family))
    assert not os.path.exists(unstarted.pid_path)


def test_the_command_fails_when_the_daemon_does_not_come_to_serve(unstarted):
    unstarted.write(bad_worker=["all", "exits"])
    started = start_in_background(unstarted)
    assert started.returncode == 1
    assert re.fullmatch(r"wproxy: \[emerg\] worker process \d+ exited with code 7 before it served\n", started.stderr)
    assert not os.path.exists(unstarted.pid_path)
    assert is_refused(unstarted.address)


def test_the_command_tells_when_the_daemon_cannot_write_the_pid_file(unstarted):
    unstarted.write(pid="/proc/none/wproxy.pid")
    started = start_in_background(unstarted)
    assert started.returncode == 1
    assert started.stderr.startswith('wproxy: [emerg] open() "/proc/none/wproxy.pid" failed (2: No such file')


# Watch.


def test_a_killed_worker_is_replaced_and_its_queue_is_served(master):
    victim, other = master.workers()
    for pid in (victim, other):
        os.kill(pid, signal.SIGSTOP)
    waiting = [connect(master.address) for _ in range(30)]
    os.kill(victim, signal.SIGKILL)
    replaced_by = until(lambda: [pid for pid in master.workers() if pid not in (victim, other)])
    os.kill(other, signal.SIGCONT)
    answers = [ask(client) for client in waiting]
    assert {answer.pid for answer in answers} == {other, *replaced_by}
    assert re.search(rf"\[alert\] .*: worker process {victim} exited on signal 9\n", master.log())
    assert f": start worker process {replaced_by[0]}\n" in master.log()


def test_a_replacement_takes_the_index_and_generation_of_its_predecessor(master):
    before = {master.ask().index: None for _ in range(40)}
    for pid in master.workers():
        os.kill(pid, signal.SIGTERM)
        replaced(master, pid)
    answers = [master.ask() for _ in range(40)]
    assert {answer.index for answer in answers} == before.keys()
    assert {answer.generation for answer in answers} == {1}


def test_what_a_dead_worker_counted_is_not_forgotten(master):
    for _ in range(20):
        master.ask()
    for pid in master.workers():
        os.kill(pid, signal.SIGKILL)
        replaced(master, pid)
    assert [master.head(word) for word in (HEAD_REQUESTS, HEAD_ACCEPTED, HEAD_CONNECTIONS)] == [20, 20, 20]
    with master.memory() as memory:
        assert len([slot for slot in memory.shared.workers() if slot.get(WORKER_PID)]) == 2


def test_a_worker_that_dies_young_again_and_again_is_started_ever_later(master):
    began = time.monotonic()
    with master.memory() as memory:
        slot = memory.shared.workers()[0]  # the lowest free slot is given out: it is the same one every time
        for _ in range(3):
            victim = slot.get(WORKER_PID)
            os.kill(victim, signal.SIGKILL)
            replaced(master, victim)
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4
    until(lambda: master.log().count("start worker process ") == 5)  # written when it lives


def test_usr1_reopens_the_master_s_log_and_is_passed_on(master):
    os.rename(master.log_path, master.log_path + ".1")
    master.signal(signal.SIGUSR1)
    until(lambda: os.path.exists(master.log_path))
    until(lambda: master.count(WORKER_TURNS) == 2)


def test_a_starting_worker_is_not_killed_by_usr1_or_hup(unstarted):
    unstarted.write(bad_worker=[0, "never serves"])
    unstarted.launch()
    until(lambda: os.path.exists(unstarted.pid_path) and len(unstarted.workers(None)) == 2)
    until(lambda: len(unstarted.workers()) == 1)
    (starting,) = unstarted.workers(STARTING)
    unstarted.signal(signal.SIGUSR1)
    until(lambda: "reopening logs" in unstarted.log())
    assert not is_gone(starting)
    until(lambda: unstarted.count(WORKER_TURNS) == 1)
    os.kill(starting, signal.SIGHUP)
    os.kill(starting, signal.SIGUSR1)
    assert len(unstarted.workers(None)) == 2 and not is_gone(starting)


def test_workers_go_when_their_master_is_killed_and_the_next_start_succeeds(tmp_path, unstarted):
    with running_master(tmp_path) as master:
        workers = master.workers()
        master.signal(signal.SIGKILL)
        until(lambda: all(is_gone(pid) for pid in workers))
        master.exit_code()
        assert os.path.exists(master.pid_path)
    with running_master(tmp_path) as master:
        assert master.ask().generation == 1


# Stop.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_stop_at_once(master, number):
    workers = master.workers()
    with connect(master.address) as open_request:
        until(lambda: master.count(WORKER_ACTIVE) == 1)
        master.signal(number)
        assert master.exit_code() == 0
        assert all(map(is_gone, workers))
        with pytest.raises((ConnectionResetError, ValueError)):
            ask(open_request)
    assert not os.path.exists(master.pid_path)
    assert is_refused(master.address)


def test_a_worker_that_is_deaf_to_term_is_killed_after_three_seconds(tmp_path):
    with running_master(tmp_path, bad_worker=[0, "deaf"]) as master:
        workers = master.workers()
        began = time.monotonic()
        master.signal(signal.SIGTERM)
        assert master.exit_code() == 0
        assert time.monotonic() - began > 2.5
        assert all(map(is_gone, workers))


def test_quit_refuses_the_new_and_serves_the_old(master):
    open_requests = [connect(master.address) for _ in range(10)]
    until(lambda: master.count(WORKER_ACTIVE) == 10)
    master.signal(signal.SIGQUIT)
    until(lambda: is_refused(master.address))
    assert master.process.poll() is None
    assert {ask(client).generation for client in open_requests} == {1}
    assert master.exit_code() == 0
    assert not os.path.exists(master.pid_path)


def test_term_overrides_a_quit_in_progress(master):
    open_request = connect(master.address)
    until(lambda: master.count(WORKER_ACTIVE) == 1)
    master.signal(signal.SIGQUIT)
    until(lambda: is_refused(master.address))
    assert master.process.poll() is None
    master.signal(signal.SIGTERM)
    assert master.exit_code() == 0
    open_request.close()


def test_a_quit_with_a_limit_kills_who_overdraws_it(tmp_path):
    with running_master(tmp_path, worker_shutdown_timeout=0.2, straggler_timeout=0.2, bad_worker=[0, "deaf"]) as master:
        master.signal(signal.SIGQUIT)
        assert master.exit_code() == 0
    assert "did not exit in time, killed" in master.log()


def test_a_unix_socket_is_served_by_all_and_removed_at_the_end(tmp_path):
    path = f"{tmp_path}/front.sock"
    with running_master(tmp_path, listen=[f"unix:{path}"]) as master:
        os.kill(master.workers()[0], signal.SIGSTOP)
        waiting = [connect(master.address) for _ in range(5)]
        assert len([ask(client) for client in waiting]) == 5
        os.kill(master.workers()[0], signal.SIGCONT)
        master.signal(signal.SIGTERM)
        assert master.exit_code() == 0
    assert not os.path.exists(path)


def test_a_master_without_a_pid_file_writes_none(tmp_path):
    with running_master(tmp_path, pid="") as master:
        assert master.ask().generation == 1
        assert not os.path.exists(master.pid_path)


def test_importing_the_master_does_not_import_psutil():
    code = "import sys, master.supervise, master.control, master.status; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_worker_that_ends_with_code_2_is_not_replaced(master):
    client = connect(master.address)
    client.sendall(b"fatal\n")
    until(lambda: "exited with fatal code 2 and cannot be respawned" in master.log())
    client.close()
    until(lambda: len(master.workers()) == 1)
    assert "[alert]" in next(line for line in master.log().splitlines() if "fatal code" in line)
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers()) == 2)
