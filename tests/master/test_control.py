"""The operator's commands."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from running_master import connect, is_gone, running_master, until

from master import control, status
from master.pidfile import has_title_of_master
from master.start_log import StartLog
from wproxy.identity import NGINX, WPROXY
from wproxy.shared import DRAINING

pytestmark = pytest.mark.whole

COMMANDS = [control.stop, control.quit, control.reload, control.reopen, status.status]


@pytest.fixture
def master(tmp_path):
    with running_master(tmp_path) as master:
        yield master


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_pid_file_there_is_one_clear_line(command, tmp_path, capsys):
    path = f"{tmp_path}/none.pid"
    assert command(path) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f'wproxy: [error] open() "{path}" failed (2: No such file or directory); is wproxy running?\n'


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stale_pid_file_signals_nobody(command, tmp_path, capsys):
    path = tmp_path / "wproxy.pid"
    path.write_text(f"{os.getpid()}\n")  # alive, but no master: TERM or HUP would end this test
    assert command(str(path)) == 1
    told = capsys.readouterr().err
    assert told == f'wproxy: [error] "{path}" is stale: process {os.getpid()} is not a wproxy master\n'


def test_the_number_of_a_process_that_is_gone_is_stale(tmp_path, capsys):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    path = tmp_path / "wproxy.pid"
    path.write_text(f"{pid}\n")
    assert control.stop(str(path)) == 1
    assert capsys.readouterr().err == f'wproxy: [error] "{path}" is stale: process {pid} does not exist\n'


# `-s`.


def signalled(word, path, capsys, log=None):
    """What `-s WORD` told on stderr; it must have failed."""
    assert control.signal_master(word, str(path), log or StartLog(NGINX)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def test_a_signal_without_a_pid_file_fails_in_nginx_s_words(tmp_path, capsys):
    path = tmp_path / "nginx.pid"
    assert signalled("stop", path, capsys) == f'nginx: [error] open() "{path}" failed (2: No such file or directory)\n'
    for content in ("", "abc"):
        path.write_text(content)
        assert signalled("stop", path, capsys) == f'nginx: [error] invalid PID number "{content}" in "{path}"\n'
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    path.write_text(f"{pid}\n")
    for word, number in (("stop", 15), ("quit", 3), ("reload", 1), ("reopen", 10)):
        assert signalled(word, path, capsys) == f"nginx: [alert] kill({pid}, {number}) failed (3: No such process)\n"


def test_a_signal_never_goes_to_a_stranger(tmp_path, capsys):
    path = tmp_path / "nginx.pid"
    path.write_text(f"{os.getpid()}\n")
    assert signalled("stop", path, capsys) == f'nginx: [error] "{path}" is stale: process {os.getpid()} is not a master process\n'


def test_a_signal_is_sent_in_silence_and_its_sending_logged(master, tmp_path, capsys):
    log = tmp_path / "start.log"
    assert control.signal_master("reopen", master.pid_path, StartLog(NGINX, str(log))) == 0
    assert capsys.readouterr() == ("", "")
    assert re.fullmatch(r"\S+ \S+ \[notice\] (\d+)#\1: signal process started\n", log.read_text())
    until(lambda: f"signal 10 (SIGUSR1) received from {os.getpid()}, reopening logs" in master.log())
    assert control.signal_master("reload", master.pid_path, StartLog()) == 0
    until(lambda: f"signal 1 (SIGHUP) received from {os.getpid()}, reconfiguring" in master.log())
    until(lambda: re.search(r"\[notice\] .*worker process \d+ exited with code 0", master.log()))
    assert control.signal_master("quit", master.pid_path, StartLog()) == 0
    assert master.exit_code() == 0


def test_a_real_nginx_may_be_stopped_by_who_takes_its_place(tmp_path, capsys):
    pretender = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import setproctitle, time; setproctitle.setproctitle('nginx: master process nginx'); time.sleep(60)",
        ]
    )
    try:
        path = tmp_path / "nginx.pid"
        path.write_text(f"{pretender.pid}\n")
        until(lambda: has_title_of_master(pretender.pid, "nginx"))
        assert "is not a master process" in signalled("stop", path, capsys, StartLog(WPROXY))
        assert control.signal_master("stop", str(path), StartLog(NGINX)) == 0
        assert pretender.wait(5) == -15
    finally:
        pretender.kill()
        pretender.wait()


def test_stop_returns_when_the_master_is_gone(master, capsys):
    family = [master.pid, *master.workers()]
    assert control.stop(master.pid_path) == 0
    assert all(map(is_gone, family))
    assert capsys.readouterr().out == "wproxy: stopped\n"


def test_quit_waits_for_open_requests_and_says_nothing_of_that_to_a_script(master, capsys):
    with connect(master.address) as client:
        codes = []
        command = threading.Thread(target=lambda: codes.append(control.quit(master.pid_path)))
        command.start()
        until(lambda: master.workers(DRAINING))
        assert not codes
        client.sendall(b"done\n")
        command.join()
    assert codes == [0]
    assert capsys.readouterr() == ("wproxy: stopped\n", "")


def test_reload_fails_when_the_master_dies(master, capsys):
    master.write(bad_worker=[0, "never serves"])
    codes = []
    command = threading.Thread(target=lambda: codes.append(control.reload(master.pid_path)))
    command.start()
    until(lambda: len(master.workers(None, generation=2)) == 2)
    master.signal(signal.SIGKILL)
    command.join()
    assert codes == [1]
    assert capsys.readouterr().err == f"wproxy: [error] the master process {master.pid} ended\n"


def test_reopen_returns_when_the_log_is_open_again(master, capsys):
    os.rename(master.log_path, master.log_path + ".1")
    assert control.reopen(master.pid_path) == 0
    assert os.path.exists(master.log_path)
    assert capsys.readouterr().out == "wproxy: logs reopened\n"


def test_commands_leave_no_descriptor_open(master):
    before = len(os.listdir("/proc/self/fd"))
    control.reopen(master.pid_path)
    control.reload(master.pid_path)
    status.status(master.pid_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_status_tells_what_programs_want_to_know(master, capsys):
    for _ in range(7):
        master.ask()
    os.kill(victim := master.workers()[0], signal.SIGKILL)
    until(lambda: victim not in master.workers(None) and len(master.workers()) == 2)
    assert status.status(master.pid_path, as_json=True, configuration_file=master.path) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pid"], found["generation"], found["requests"], found["accepted"]) == (master.pid, 1, 7, 7)
    assert found["configuration"] == master.path and found["configuration_changed"] is False
    assert {worker["pid"] for worker in found["workers"]} == set(master.workers())
    for worker in found["workers"]:
        assert worker["state"] == "serving"
        assert worker["rss"] > 1_000_000
        assert 0 <= worker["uptime"] < 60
    assert found["rss"] > sum(worker["rss"] for worker in found["workers"])


def test_status_shows_people_a_table_and_why_the_last_reload_failed(master, capsys):
    master.write(broken="unknown directive")
    control.reload(master.pid_path)
    capsys.readouterr()
    assert status.status(master.pid_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"master process {master.pid}" in lines[0]
    assert lines[1].startswith("generation 1, loaded ")
    assert lines[2:4] == ["last reload failed:", f"  unknown directive in {master.path}:3:5"]
    assert lines[5].split() == ["WORKER", "GEN", "STATE", "UPTIME", "RSS", "CPU", "ACTIVE", "REQUESTS"]
    assert [line.split()[2] for line in lines[6:8]] == ["serving", "serving"]
    assert lines[8].split()[0] == "total"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h 0m"), (90061, "1d 1h")])
def test_a_duration_shows_its_two_largest_units(seconds, text):
    assert status.as_duration(seconds) == text
