"""The life of master and workers under load: stop, quit, reload, and workers that are killed."""

import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest
from harness import COMMAND, Program, accepts, is_alive, let_rest, title, until, wproxy
from recorder import PLAIN, send_ok
from wire import Closed, Load, Wire, ask, request_bytes

from bench.ports import free_port
from master.memory import open_memory_of
from wproxy.shared import SERVING, WORKER_PID, WORKER_STATE

pytestmark = pytest.mark.whole


def text(answer: str) -> str:
    """A configuration whose every answer is this text."""
    return f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ return = [200, "{answer}"] }}
        """


def proxied(recorder, more: str = "") -> str:
    return f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ proxy_pass = "{recorder.url}" }}
        {more}
        """


@pytest.fixture
def gate(recorder):
    """An event that every reply of the recorder's waits for."""
    opened = threading.Event()

    def reply(conversation, received):
        opened.wait(20)
        conversation.send(PLAIN)

    recorder.reply = reply
    yield opened
    opened.set()


# A worker that dies.


def test_a_killed_worker_is_replaced_and_nobody_waits_for_it(start, recorder):
    front = start(proxied(recorder))
    for _ in range(3):
        with Load(front.port, clients=6) as load:
            load.wait_for(100)
            workers = front.worker_pids()
            victim = min(workers)
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(front.worker_pids() - {victim}) == 2, "a new worker")
            load.wait_for(100)
            # Requests that the dead worker had begun are lost; nothing that comes later is.
            lost = len(load.failures)
            load.wait_for(300)
            assert len(load.failures) == lost
        assert lost <= 6, load.failures
    assert front.error_log.count("exited on signal 9") == 3
    for _ in range(20):
        assert ask(front.port, "/").status == 200


def test_all_workers_killed_at_once_are_replaced(start):
    front = start(text("here"), workers=3)
    for pid in front.worker_pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(front.worker_pids()) == 3, "three workers")
    assert ask(front.port, "/").body == b"here"


def test_workers_finish_and_leave_when_the_master_is_killed(start, recorder, gate):
    front = start(proxied(recorder))
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        workers = [psutil.Process(pid) for pid in front.worker_pids()]
        os.kill(front.master.pid, signal.SIGKILL)
        front.program.wait()
        until(lambda: not accepts(front.port), "nobody listens")
        gate.set()
        assert wire.answer().body == b"ok"
    until(lambda: not any(map(is_alive, workers)), "the workers' end")


# Stopping.


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_term_stops_at_once_with_exit_code_0_and_without_a_pid_file(start, recorder, gate, number):
    front = start(proxied(recorder))
    with Wire(front.port) as wire, Wire(front.port) as idle:
        wire.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        front.signal(number)
        assert front.program.wait() == 0  # although the request, whose answer the gate holds back, is still there
        with pytest.raises(Closed):
            wire.answer()
        assert idle.is_closed_by_peer()
    assert not (front.directory / "wproxy.pid").exists()
    assert not accepts(front.port)
    assert front.error_log.rstrip().endswith("exit")


def test_term_under_load_ends_everything(start, recorder):
    front = start(proxied(recorder))
    family = front.family()
    with Load(front.port, clients=6) as load:
        load.wait_for(100)
        front.signal(signal.SIGTERM)
        assert front.program.wait() == 0
    assert not any(map(is_alive, family))


def test_quit_serves_what_has_begun_and_lets_nobody_in(start, recorder, gate):
    front = start(proxied(recorder))
    with Wire(front.port) as busy, Wire(front.port) as idle:
        recorder.reply, held = send_ok, recorder.reply
        idle.request("GET", "/")
        recorder.requests.clear()
        recorder.reply = held
        busy.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        front.signal(signal.SIGQUIT)
        assert idle.is_closed_by_peer()
        until(lambda: not accepts(front.port), "connections are refused")
        assert front.program.is_running
        gate.set()
        assert busy.answer().body == b"ok"
    assert front.program.wait() == 0
    assert not (front.directory / "wproxy.pid").exists()


@pytest.fixture
def interrupts_ignored():
    """What a shell gives to the background jobs of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_heeded_in_the_background_job_of_a_script_too(interrupts_ignored, start, recorder, gate):
    front = start(proxied(recorder))
    with Wire(front.port) as busy:
        busy.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        waiting = Program([*COMMAND, "quit", "-c", str(front.file)], front.directory)
        until(lambda: not accepts(front.port), "the end of accepting")  # it waits now, and says nothing to a script
        waiting.popen.send_signal(signal.SIGINT)
        assert waiting.wait() == 130
        assert front.program.is_running
        front.program.popen.send_signal(signal.SIGINT)
        assert front.program.wait() == 0


def test_after_a_quit_the_last_answer_closes_its_connection(start, recorder, gate):
    front = start(proxied(recorder))
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        front.signal(signal.SIGQUIT)
        until(lambda: not accepts(front.port), "connections are refused")
        gate.set()
        assert not wire.answer().keeps_alive
        assert wire.is_closed_by_peer()
    assert front.program.wait() == 0


def test_a_request_that_comes_together_with_quit_is_served(start):
    front = start(text("here"), workers=1)
    (worker,) = front.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED, "the worker is stopped")
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        front.signal(signal.SIGQUIT)
        until(lambda: int(re.search(r"ShdPnd:\t(\w+)", Path(f"/proc/{worker}/status").read_text())[1], 16) & 4, "QUIT is pending")
        os.kill(worker, signal.SIGCONT)
        assert wire.answer().body == b"here"
    assert front.program.wait() == 0


def test_quit_waits_for_an_upload_and_a_download_in_progress(start, recorder):
    front = start(
        proxied(recorder)
        + '\n[http.server.location."/big/"]\nclient_max_body_size = 0\nproxy_request_buffering = "off"\nproxy_pass = "'
        + recorder.url
        + '"'
    )
    size = 8_000_000
    recorder.answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    with Wire(front.port) as down, Wire(front.port) as up:
        down.send(request_bytes("GET", "/big/down"))
        down.sock.recv(1000, socket.MSG_PEEK)
        up.send(request_bytes("POST", "/big/up", [("Content-Length", str(size))]) + b"y" * 100_000)
        until(lambda: len(recorder.heads) == 2, "both at the upstream")
        front.signal(signal.SIGQUIT)
        until(lambda: not accepts(front.port), "connections are refused")
        up.send(b"y" * (size - 100_000))
        assert len(down.answer().body) == size
        assert len(up.answer().body) == size
    assert len(recorder.requests[-1].body) == size
    assert front.program.wait() == 0


def test_worker_shutdown_timeout_ends_the_patience(start, recorder, gate):
    front = start(proxied(recorder), main='worker_shutdown_timeout = "500ms"\n')
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        began = time.monotonic()
        front.signal(signal.SIGQUIT)
        assert front.program.wait() == 0  # although the request is still there
        assert time.monotonic() - began > 0.45
    assert "worker_shutdown_timeout 0.5" in front.error_log


def test_signals_are_obeyed_after_a_match_that_was_abandoned(start):
    front = start(
        """
        [[http.server]]
        listen = "127.0.0.1:{port}"
        location."~ ^/(a+)+$" = { return = [200, "x"] }
        """
    )
    assert ask(front.port, f"/{'a' * 40}!").status == 500
    quitting = front.command("quit")
    assert quitting.code == 0, quitting
    assert "a bug ended" not in front.error_log


def test_stop_and_quit_as_commands_wait_for_the_end(start, recorder):
    for command in ("stop", "quit"):
        front = start(proxied(recorder))
        done = front.command(command)
        # On a busy machine it has said before that it waits.
        assert (done.code, done.output.splitlines()[-1], done.errors) == (0, "wproxy: stopped", "")
        assert not accepts(front.port)
        assert front.program.wait() == 0


def test_quit_on_a_terminal_tells_what_it_waits_for(start, recorder, gate):
    front = start(proxied(recorder))
    ours, theirs = os.openpty()
    try:
        with Wire(front.port) as wire:
            wire.send(request_bytes("GET", "/"))
            until(lambda: recorder.requests, "the request")
            command = subprocess.Popen([*COMMAND, "quit", "-c", str(front.file)], stdout=theirs, stderr=theirs)
            said = b""
            while b"waiting for 1 request in 1 worker to end; Ctrl-C ends only the waiting, " not in said:
                assert select.select([ours], [], [], 20)[0], said
                said += os.read(ours, 4096)
            gate.set()
            assert wire.answer().status == 200
        assert command.wait(20) == 0
        said += os.read(ours, 4096)
        assert said.endswith(b"\r\x1b[Kwproxy: stopped\r\n")
    finally:
        os.close(ours)
        os.close(theirs)


# Reloading.


def test_a_reload_under_load_fails_no_request_and_serves_the_new_configuration(start):
    front = start(text("generation 1"))
    with Load(front.port, clients=8) as load:
        for generation in range(2, 6):
            load.wait_for(150)
            done = front.reload(text(f"generation {generation}"))
            assert (done.code, done.errors) == (0, ""), done
            # The command returns when the new generation serves, though old workers may still be on their way out.
            until(lambda: ask(front.port, "/").body == f"generation {generation}".encode(), "the new answer", 2)
        load.wait_for(150)
    assert load.failures == []
    assert list(load.bodies) == [f"generation {number}".encode() for number in range(1, 6)] or len(load.bodies) == 5
    assert front.status()["generation"] == 5


def test_reloads_by_hup_under_load_through_an_upstream_fail_no_request(start, recorder):
    front = start(proxied(recorder))
    with Load(front.port, clients=8) as load:
        for _ in range(5):
            load.wait_for(150)
            old = front.worker_pids()
            front.signal(signal.SIGHUP)
            until(lambda: len(front.worker_pids() - old) == 2 and not front.worker_pids() & old, "two new workers")
    assert load.failures == []


def test_clients_without_a_second_try_lose_nothing_by_a_reload_when_each_request_has_its_own_connection(start):
    front = start(text("here"))
    failures, answers = [], 0
    ending = threading.Event()

    def client():
        nonlocal answers
        while not ending.is_set():
            try:
                with Wire(front.port) as wire:
                    assert wire.request("GET", "/", [("Connection", "close")]).body == b"here"
                answers += 1
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for workers in (4, 1, 3, 2):
            front.workers = workers
            assert front.reload().code == 0
            seen = answers
            until(lambda: answers > seen + 100, "answers")
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_request_in_progress_is_finished_by_the_old_configuration(start, recorder, gate):
    front = start(proxied(recorder))
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        until(lambda: recorder.requests, "the request")
        old = front.worker_pids()
        assert front.reload(text("new")).code == 0
        assert ask(front.port, "/").body == b"new"
        gate.set()
        assert wire.answer().body == b"ok"
    until(lambda: not any(psutil.pid_exists(pid) for pid in old), "the old workers' end")


def test_a_reload_may_change_the_number_of_workers(start):
    front = start(text("here"), workers=2)
    with Load(front.port, clients=6) as load:
        for workers in (4, 1, 2):
            load.wait_for(100)
            front.workers = workers
            assert front.reload().code == 0
            until(lambda: len(front.worker_pids()) == workers, f"{workers} workers")
        load.wait_for(100)
    assert load.failures == []


def test_a_reload_may_move_to_another_port(start):
    front = start(text("here"))
    old = front.port
    front.port = free_port()
    assert front.reload().code == 0
    assert ask(front.port, "/").body == b"here"
    until(lambda: not accepts(old), "nobody listens on the old port")


BROKEN = (
    (text("x") + "\nproxy_pas = 1\n", 'unknown directive "proxy_pas"'),
    (text("x") + "\nproxy_read_timeout = 'soon'\n", '"proxy_read_timeout" directive invalid value'),
    (text("x").replace("[[http.server]]", "[[http.server"), "Expected ']]' at the end of an array declaration"),
    (text("x").replace("127.0.0.1:{port}", "127.0.0.1:0x1"), "invalid"),
)


def test_a_broken_configuration_leaves_everything_as_it_is(start):
    front = start(text("as before"))
    workers = front.worker_pids()
    with Load(front.port, clients=4, is_right=lambda answer: answer.body == b"as before") as load:
        for broken, complaint in BROKEN:
            load.wait_for(50)
            done = front.reload(broken)
            assert done.code == 1, done
            assert done.output == ""
            line = done.errors.splitlines()[0]
            assert re.match(
                r"wproxy: \[(error|emerg)\] .*" + re.escape(complaint) + rf".* in {re.escape(str(front.file))}:\d+:\d+$", line
            ), done
            assert "Traceback" not in done.errors
        load.wait_for(50)
    assert load.failures == []
    assert front.worker_pids() == workers
    assert front.reload(text("better")).code == 0
    assert ask(front.port, "/").body == b"better"


def test_a_reload_that_failed_is_in_the_log_and_in_the_status(start):
    front = start(text("as before"))
    assert front.reload(text("x") + "\nproxy_pas = 1\n").code == 1
    assert re.search(r'\[emerg\].* unknown directive "proxy_pas".*:\d+:\d+$', front.error_log, re.M)
    shown = front.command("status")
    assert "last reload failed" in shown.output
    assert 'unknown directive "proxy_pas"' in shown.output
    assert front.reload(text("better")).code == 0
    assert "last reload failed" not in front.command("status").output


def test_a_port_that_is_taken_is_no_reason_to_stop(start):
    front = start(text("here"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = front.reload(front.http.replace("127.0.0.1:{port}", f"127.0.0.1:{port}"))
    assert done.code == 1
    assert f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in done.errors
    assert ask(front.port, "/").body == b"here"


def test_twenty_reloads_leak_neither_descriptors_nor_processes(start, recorder):
    front = start(proxied(recorder))
    assert front.reload().code == 0
    until(lambda: len(front.master.children()) == 2, "the first workers' end")
    let_rest(front.master)
    descriptors, memory = front.master.num_fds(), front.master.memory_info().rss
    for number in range(20):
        ask(front.port, "/")
        old = front.worker_pids()
        front.signal(signal.SIGHUP)
        front.error_logged(f"generation {number + 3} serves")
        until(lambda: not front.worker_pids() & old, "new workers")
    until(lambda: len(front.master.children()) == 2, "the old workers' end")
    let_rest(front.master)
    assert front.master.num_fds() == descriptors
    assert front.master.memory_info().rss - memory < 5_000_000
    counts = {psutil.Process(pid).num_fds() for pid in front.worker_pids()}
    assert max(counts) < 25, counts


def test_reopen_gives_the_logs_their_names_again(start):
    front = start(text("here"))
    ask(front.port, "/before")
    front.logged("/before")
    for name in ("access.log", "error.log"):
        os.rename(front.directory / name, front.directory / f"{name}.1")
    assert front.command("reopen").code == 0
    ask(front.port, "/after")
    front.logged("/after")
    assert "/before" not in (front.directory / "access.log").read_text()
    assert (front.directory / "error.log").exists()


def test_status_tells_who_is_at_work(start):
    front = start(text("here"))
    with Wire(front.port) as wire:
        for _ in range(10):
            wire.request("GET", "/")
        until(lambda: front.status()["requests"] >= 10, "ten requests in the status")
        found = front.status()
        assert found["pid"] == front.master.pid
        assert found["generation"] == 1
        assert found["active"] == 1
        assert {worker["pid"] for worker in found["workers"]} == front.worker_pids()
        assert found["rss"] > 10_000_000
    shown = wproxy("status", "-c", str(front.file))
    assert shown.code == 0
    assert f"master process {front.master.pid}" in shown.output
    assert shown.output.count("serving") == 2


def test_processes_carry_their_titles(start):
    front = start(text("here"))
    assert title(front.master).startswith("wproxy: master process ")
    assert len(front.worker_pids()) == 2


# Signals to a worker itself.


def test_a_worker_that_somebody_else_signals_says_so_and_is_replaced_when_it_leaves(start):
    front = start(text("here"), workers=1)
    (worker,) = front.worker_pids()
    for number, consequence in ((signal.SIGHUP, ", ignoring"), (signal.SIGUSR2, ", ignoring"), (signal.SIGWINCH, "")):
        os.kill(worker, number)
        line = front.error_logged(f"signal {number} ({number.name}) received{consequence}")
        assert f"[notice] {worker}#{worker}: " in line and line.endswith(f"received{consequence}")
    assert front.worker_pids() == {worker}
    for number, consequence in ((signal.SIGQUIT, "shutting down"), (signal.SIGTERM, "exiting")):
        (worker,) = until(lambda: serving(front), "a worker that has its handlers")
        os.kill(worker, number)
        assert f"{worker}#{worker}: " in front.error_logged(f"({number.name}) received, {consequence}")
        until(lambda worker=worker: len(front.worker_pids() - {worker}) == 1, "a successor")
    assert ask(front.port, "/").body == b"here"


def serving(front):
    """The workers that say that they serve."""
    with open_memory_of(front.master.pid) as memory:
        return [slot.get(WORKER_PID) for slot in memory.shared.workers() if slot.get(WORKER_STATE) == SERVING]


def test_a_worker_says_nothing_about_what_its_master_tells_it(start):
    front = start(text("here"), workers=1)
    front.signal(signal.SIGUSR1)
    front.error_logged("(SIGUSR1) received from")
    assert front.command("reload").code == 0
    assert front.command("quit").code == 0
    told = [line for line in front.error_log.splitlines() if "(SIG" in line]
    assert told and all(f"[notice] {front.master.pid}#" in line for line in told), told
