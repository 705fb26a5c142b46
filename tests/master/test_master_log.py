"""The master's error log."""

import os
import re

import pytest

from master.log import open_error_log, open_log_file, reopen_error_log
from master.user import Identity
from wproxy.config.tree import ConfigurationError


def test_a_line_has_nginx_s_format(tmp_path):
    path = tmp_path / "error.log"
    log = open_error_log([(str(path), "notice")])
    log.write("notice", "worker process 5 exited with code 0")
    log.close()
    line = rf"\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[notice\] {os.getpid()}#{os.getpid()}: worker process 5 exited with code 0\n"
    assert re.fullmatch(line, path.read_text())


def test_each_log_takes_what_is_at_least_as_grave_as_its_level(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    log = open_error_log([(str(few), "alert"), (str(many), "debug")])
    for level in ("emerg", "alert", "crit", "debug"):
        log.write(level, "x")
    log.close()
    assert re.findall(r"\[(\w+)\]", few.read_text()) == ["emerg", "alert"]
    assert re.findall(r"\[(\w+)\]", many.read_text()) == ["emerg", "alert", "crit", "debug"]


def test_stderr_is_a_place(capfd):
    log = open_error_log([("stderr", "error")])
    log.write("error", "x")
    log.close()
    os.write(2, b"")  # still open
    assert "[error]" in capfd.readouterr().err


def test_a_rotated_log_is_opened_again_by_its_name(tmp_path):
    path = tmp_path / "error.log"
    log = open_error_log([(str(path), "error")])
    log.write("error", "before")
    path.rename(tmp_path / "error.log.1")
    log.write("error", "still the old file")
    reopen_error_log(log)
    log.write("error", "after")
    log.close()
    assert (tmp_path / "error.log.1").read_text().count("\n") == 2
    assert path.read_text().endswith("after\n")


def test_a_log_that_cannot_be_opened_is_an_error_that_leaves_nothing_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError, match=r'open\(\) ".*" failed \(21: Is a directory\)'):
        open_error_log([(str(tmp_path / "good"), "error"), (str(tmp_path), "error")])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_failed_reopening_keeps_the_old_file(tmp_path):
    path = tmp_path / "error.log"
    log = open_error_log([(str(path), "error")])
    path.rename(tmp_path / "old")
    path.mkdir()
    with pytest.raises(ConfigurationError):
        reopen_error_log(log)
    log.write("error", "kept")
    log.close()
    assert "kept" in (tmp_path / "old").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_only_a_plain_file_is_given_to_the_workers(tmp_path):
    for name in ("plain", "secret", "shared"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "shared", tmp_path / "shared too")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("plain", "link", "shared", "null"):
        os.close(open_log_file(str(tmp_path / name), Identity("joe", 1000, 1000)))
    assert (tmp_path / "plain").stat().st_uid == 1000
    assert [(tmp_path / name).stat().st_uid for name in ("secret", "shared", "null")] == [0, 0, 0]
