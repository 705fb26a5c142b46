"""`-t`: would a start succeed?"""

import os
import re
import socket

import pytest
from running_master import RunningMaster, load

from master.check import check_configuration
from master.start_log import StartLog
from wproxy.identity import NGINX
from wproxy.shared import FIRST_LATE_PEER


@pytest.fixture
def written(tmp_path):
    """A configuration in the shape of `running_master`, and what its test says."""
    return Written(tmp_path)


class Written(RunningMaster):
    def __init__(self, directory):
        super().__init__(str(directory))
        self.directory = directory

    def files(self):
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*"))

    def test(self, capsys, quiet=False, log=""):
        """The exit code, and the lines on stderr."""
        capsys.readouterr()
        code = check_configuration(lambda: load(self.path), "nginx.conf", StartLog(NGINX, log), quiet)
        told = capsys.readouterr()
        assert told.out == ""
        return code, told.err.splitlines()


OK = ["nginx: the configuration file nginx.conf syntax is ok", "nginx: configuration file nginx.conf test is successful"]
FAILED = "nginx: configuration file nginx.conf test failed"


def test_a_good_one_is_said_to_be_unless_it_is_to_be_quiet(written, capsys):
    assert written.test(capsys) == (0, OK)
    assert written.test(capsys, quiet=True) == (0, [])


def test_what_it_leaves_behind_is_a_log_and_no_pid_file_nor_directory(written, capsys):
    own = [f"{written.directory}/{name}" for name in ("logs/deep", "run")]
    temporary = {f"{written.directory}/temp": None}
    written.write(
        access_logs=["access.log", "logs/deep/access.log", "off"],
        pid="run/nginx.pid",
        own_directories=own,
        made_directories=temporary,
    )
    assert written.test(capsys) == (0, OK)
    assert written.files() == ["access.log", "conf.json", "error.log"]


def test_a_directory_that_is_not_one_of_ours_has_to_be_there(written, capsys):
    temporary = f"{written.directory}/nowhere/temp"
    written.write(access_logs=["nowhere/access.log"], pid="nowhere/nginx.pid", made_directories={temporary: None})
    code, told = written.test(capsys)
    assert code == 1
    for call, path in (("open()", "access.log"), ("mkdir()", "temp"), ("open()", "nginx.pid")):
        line = f'nginx: [emerg] {call} "{written.directory}/nowhere/{path}" failed (2: No such file or directory)'
        assert line in told
    assert written.files() == ["conf.json", "error.log"]


def test_a_master_that_runs_is_not_disturbed(written, capsys):
    written.start()
    try:
        with open(written.pid_path) as file:
            pid = file.read()
        assert written.test(capsys) == (0, OK)
        with open(written.pid_path) as file:
            assert file.read() == pid
        assert {written.ask().generation for _ in range(8)} == {1}
    finally:
        written.end()


def test_an_address_in_use_is_no_problem(written, capsys):
    with socket.create_server(written.address):
        assert written.test(capsys) == (0, OK)


def test_a_wrong_text_fails_without_a_word_of_its_syntax(written, capsys):
    written.write(broken='unknown directive "liste"')
    assert written.test(capsys) == (1, [f'nginx: [emerg] unknown directive "liste" in {written.path}:3:5', FAILED])
    assert written.test(capsys, quiet=True)[1][-1] == FAILED


def test_all_that_a_start_would_fail_for_is_told(written, capsys):
    written.write(access_logs=["/proc/none/access.log"], pid="/proc/none/nginx.pid", listen=["192.0.2.1:8080"])
    code, lines = written.test(capsys)
    assert code == 1
    assert lines == [
        OK[0],
        'nginx: [emerg] open() "/proc/none/access.log" failed (2: No such file or directory)',
        'nginx: [emerg] open() "/proc/none/nginx.pid" failed (2: No such file or directory)',
        f"nginx: [emerg] bind() to 192.0.2.1:8080 failed (99: Cannot assign requested address) in {written.path}:1:1",
        FAILED,
    ]


def test_too_many_workers_are_told(written, capsys):
    written.write(workers=100_000)
    assert written.test(capsys)[1][1].startswith("nginx: [emerg] too many workers")


def test_more_peers_than_there_are_records_are_told(written, capsys):
    names = [f"127.0.0.1:{number}" for number in range(FIRST_LATE_PEER)]
    written.write(upstreams={"a": names[: FIRST_LATE_PEER // 2], "b": names[FIRST_LATE_PEER // 2 :]})
    too_many = f"nginx: [emerg] too many peers in all upstreams: there is room for {FIRST_LATE_PEER - 1}"
    assert written.test(capsys) == (1, [OK[0], too_many, FAILED])
    written.write(upstreams={"a": names[1:]})
    assert written.test(capsys) == (0, OK)


def test_what_is_not_effective_is_named_and_does_not_fail(written, capsys):
    written.write(
        warnings=['"gzip" is not effective', '"allow" is not: a start refuses it'], refusals=['"allow" is not effective']
    )
    assert written.test(capsys) == (
        0,
        ['nginx: [warn] "gzip" is not effective', 'nginx: [warn] "allow" is not: a start refuses it', *OK],
    )


def test_the_log_gets_the_problems_too(written, capsys, tmp_path):
    written.write(broken="this")
    log = tmp_path / "early.log"
    assert written.test(capsys, log=str(log))[1] == [f"nginx: [emerg] this in {written.path}:3:5", FAILED]
    assert re.fullmatch(rf"\S+ \S+ \[emerg\] {os.getpid()}#{os.getpid()}: this in {written.path}:3:5\n", log.read_text())


def test_a_log_that_does_not_open_is_told_and_stderr_taken(written, capfd):
    written.write(broken="this")
    code = check_configuration(lambda: load(written.path), "nginx.conf", StartLog(NGINX, "/proc/none/error.log"))
    first, second, third = capfd.readouterr().err.splitlines()
    assert code == 1
    assert first == (
        'nginx: [alert] could not open error log file: open() "/proc/none/error.log" failed (2: No such file or directory)'
    )
    assert re.match(rf"\S+ \S+ \[emerg\] {os.getpid()}#{os.getpid()}: this in", second)
    assert third == FAILED
