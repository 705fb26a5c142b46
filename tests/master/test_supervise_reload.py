"""Reload: all or nothing, and nobody notices."""

import os
import re
import signal
import socket
import threading

import psutil
import pytest
from running_master import ask, connect, is_gone, is_refused, running_master, until

from bench.ports import free_port
from master import control
from master.pidfile import read_pid_file
from wproxy.address import Address
from wproxy.shared import DRAINING, HEAD_ATTEMPTS, HEAD_BEGUN, HEAD_GENERATION, HEAD_OUTCOME, SERVING, STARTING, WORKER_ACTIVE

pytestmark = pytest.mark.whole


@pytest.fixture
def master(tmp_path):
    with running_master(tmp_path, text="old") as master:
        yield master


def refused(master, capsys):
    """Reload, which must fail; what the command printed on stderr."""
    capsys.readouterr()
    assert control.reload(master.pid_path) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert master.head(HEAD_OUTCOME) == 0
    return told.err


def unchanged(master, workers):
    """The old generation serves as if nothing had been."""
    until(lambda: set(master.workers(None)) == set(workers))
    assert master.head(HEAD_GENERATION) == 1
    assert {master.ask().text for _ in range(20)} == {"old"}


def test_a_reload_brings_new_workers_with_the_new_configuration(master, capsys):
    old = master.workers()
    master.write(text="new")
    assert control.reload(master.pid_path) == 0
    assert capsys.readouterr().out == "wproxy: generation 2 serves\n"
    assert master.head(HEAD_GENERATION) == 2
    until(lambda: all(map(is_gone, old)))
    assert {(answer.generation, answer.text) for answer in (master.ask() for _ in range(20))} == {(2, "new")}


def test_old_workers_finish_their_requests(master):
    open_requests = [connect(master.address) for _ in range(10)]
    until(lambda: master.count(WORKER_ACTIVE) == 10)
    master.write(text="new")
    assert control.reload(master.pid_path) == 0
    until(lambda: len(master.workers(DRAINING)) == 2)
    assert master.ask().text == "new"
    assert {ask(client).text for client in open_requests} == {"old"}
    until(lambda: master.workers(None, generation=1) == [])


def test_a_broken_configuration_leaves_everything_running_and_tells_why(master, capsys):
    workers = master.workers()
    master.write(broken='unknown directive "liste"')
    assert refused(master, capsys) == f'wproxy: [error] unknown directive "liste" in {master.path}:3:5\n'
    assert f'[emerg] {master.pid}#{master.pid}: unknown directive "liste" in' in master.log()
    unchanged(master, workers)


def test_a_bug_in_loading_leaves_everything_running(master, capsys):
    workers = master.workers()
    master.write(bug="x")
    assert "the configuration cannot be loaded: KeyError: 'x'" in refused(master, capsys)
    assert "Traceback" in master.log()
    unchanged(master, workers)


def test_a_used_port_leaves_everything_running_and_is_told_at_once(master, capsys):
    workers = master.workers()
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = f"127.0.0.1:{other.getsockname()[1]}"
        master.write(listen=[*master.written["listen"], used], workers=4)
        assert (
            refused(master, capsys)
            == f"wproxy: [error] bind() to {used} failed (98: Address already in use) in {master.path}:2:1\n"
        )
    unchanged(master, workers)


def test_new_workers_that_die_leave_everything_running(master, capsys):
    workers = master.workers()
    fresh = free_port()
    master.write(bad_worker=[1, "exits"], listen=[*master.written["listen"], f"127.0.0.1:{fresh}"])
    assert re.fullmatch(r"wproxy: \[error\] worker process \d+ exited with code 7 before it served\n", refused(master, capsys))
    unchanged(master, workers)
    assert is_refused(Address("127.0.0.1", fresh))


def test_new_workers_that_hang_leave_everything_running(master, capsys):
    workers = master.workers()
    master.write(bad_worker=[1, "never serves"], ready_timeout=0.5)
    assert refused(master, capsys) == "wproxy: [error] the new workers did not serve within 0.5 seconds\n"
    unchanged(master, workers)
    master.write(bad_worker=None, text="new")
    assert control.reload(master.pid_path) == 0
    until(lambda: all(map(is_gone, workers)))
    assert {master.ask().text for _ in range(20)} == {"new"}


def test_an_unknown_pid_path_leaves_everything_running(master, capsys):
    workers = master.workers()
    master.write(pid="/proc/none/x.pid")
    assert 'open() "/proc/none/x.pid" failed' in refused(master, capsys)
    unchanged(master, workers)
    assert read_pid_file(master.pid_path) == master.pid


def test_after_a_failure_the_next_reload_succeeds(master, capsys):
    master.write(broken="x")
    refused(master, capsys)
    master.write(broken=None, text="new")
    assert control.reload(master.pid_path) == 0
    assert capsys.readouterr().out == "wproxy: generation 2 serves\n"


def test_a_generation_that_fails_after_a_part_of_it_served_loses_no_connection(master):
    """Two more workers, of which one never serves: connections must not wait in its queue."""
    workers = master.workers()
    master.write(workers=4, bad_worker=[3, "never serves"])
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers(SERVING, generation=2)) == 3)
    waiting = [connect(master.address) for _ in range(60)]
    (hanging,) = until(lambda: master.workers(STARTING))
    os.kill(hanging, signal.SIGKILL)
    assert len([ask(client) for client in waiting]) == 60
    until(lambda: master.head(HEAD_ATTEMPTS) == 1)
    unchanged(master, workers)


def test_an_old_worker_that_dies_during_a_reload_is_replaced(master):
    master.write(bad_worker=[0, "never serves"])
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers(None, generation=2)) == 2)
    victim = master.workers(generation=1)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in master.workers(None) and len(master.workers(generation=1)) == 2)


def test_hups_during_a_reload_make_one_more_reload(master):
    master.write(bad_worker=[0, "never serves"])
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers(None, generation=2)) == 2)
    master.write(bad_worker=None, text="new")
    for _ in range(5):
        master.signal(signal.SIGHUP)
        until(lambda: master.log().count(", reconfiguring") >= 2)
    os.kill(master.workers(STARTING, generation=2)[0], signal.SIGKILL)
    until(lambda: master.head(HEAD_ATTEMPTS) == 2)
    until(lambda: master.workers(None, generation=1) == [] and len(master.workers(None)) == 2)
    assert master.head(HEAD_GENERATION) == 2
    assert master.head(HEAD_BEGUN) == 2
    assert master.ask().text == "new"


def test_a_reload_command_during_another_reload_reports_its_own(master, capsys):
    master.write(bad_worker=[0, "never serves"])
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers(None, generation=2)) == 2)
    master.write(bad_worker=None, text="new")
    codes = []
    command = threading.Thread(target=lambda: codes.append(control.reload(master.pid_path)))
    command.start()
    until(lambda: master.log().count(", reconfiguring") == 2)
    os.kill(master.workers(STARTING, generation=2)[0], signal.SIGKILL)
    command.join()
    assert codes == [0]


def test_a_stop_during_a_reload_stops_everything(master):
    master.write(bad_worker=[0, "never serves"])
    master.signal(signal.SIGHUP)
    until(lambda: len(master.workers(None, generation=2)) == 2)
    family = master.workers(None)
    master.signal(signal.SIGTERM)
    assert master.exit_code() == 0
    assert all(map(is_gone, family))


def test_two_four_one_workers_lose_no_queued_connection(master):
    """All workers stand still, so every connection waits in the queue of some socket while the number changes."""
    for count in (4, 1, 2):
        old = master.workers()
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        waiting = [connect(master.address) for _ in range(40)]
        master.write(workers=count, text=str(count))
        assert control.reload(master.pid_path) == 0
        assert {ask(client).text for client in waiting} == {str(count)}
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        until(lambda old=old: all(map(is_gone, old)))


def test_reloads_under_load_lose_no_request(master):
    done, failures, answers = threading.Event(), [], []

    def load():
        while not done.is_set():
            try:
                answers.append(master.ask().text)
            except (OSError, ValueError) as error:
                failures.append(error)

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for count in (4, 1, 3, 2):
            master.write(workers=count)
            assert control.reload(master.pid_path) == 0
    finally:
        done.set()
        for client in clients:
            client.join()
    assert failures == []
    assert len(answers) > 50


def test_addresses_come_and_go(master):
    old, new = master.address, Address("127.0.0.1", free_port())
    master.write(listen=[str(new)])
    assert control.reload(master.pid_path) == 0
    assert ask(connect(new)).generation == 2
    until(lambda: is_refused(old))


def test_a_unix_socket_is_removed_when_it_is_no_longer_configured(master, tmp_path):
    tcp = master.written["listen"]
    local = Address(f"{tmp_path}/front.sock", -1)
    master.write(listen=[*tcp, str(local)])
    assert control.reload(master.pid_path) == 0
    assert ask(connect(local)).generation == 2
    master.write(listen=tcp)
    assert control.reload(master.pid_path) == 0
    assert not os.path.exists(local.host)


def test_a_changed_pid_path_moves_the_file(master, tmp_path):
    master.write(pid="other.pid")
    assert control.reload(master.pid_path) == 0
    assert read_pid_file(f"{tmp_path}/other.pid") == master.pid
    assert not os.path.exists(master.pid_path)
    master.signal(signal.SIGTERM)
    assert master.exit_code() == 0
    assert not os.path.exists(f"{tmp_path}/other.pid")


def test_many_reloads_leak_no_descriptor_and_no_process(master):
    process = psutil.Process(master.pid)
    assert control.reload(master.pid_path) == 0
    until(lambda: master.workers(None, generation=1) == [])
    before = process.num_fds()
    for number in range(4):
        master.write(text=str(number), upstreams={"app": [f"10.0.0.{number}:80"]})
        assert control.reload(master.pid_path) == 0
        master.write(broken="x")
        assert control.reload(master.pid_path) == 1
        master.write(broken=None)
    until(lambda: len(master.workers(None)) == 2)
    assert process.num_fds() == before
    assert len(process.children()) == 2
