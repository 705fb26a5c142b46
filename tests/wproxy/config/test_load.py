"""From a file to the model: what can be wrong before there is a tree, and the pid file that a configuration names."""

from __future__ import annotations

import os

import pytest

from wproxy.config.load import configured_pid, load_configuration, load_text, read_file
from wproxy.config.tree import ConfigurationError


def look_up(host, port):
    raise OSError("nobody is asked here")


def problem_of(load, *arguments) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(*arguments)
    (problem,) = error.value.problems
    return str(problem)


@pytest.fixture
def file(tmp_path):
    """Writes wproxy.toml, returns its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "wproxy.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_a_file_is_read_and_remembers_its_name_and_prefix(file):
    path = file("[[http.server]]\nserver_name = 'caf\u00e9'\n")
    configuration = load_configuration(path, "/srv/", look_up)
    assert (configuration.file, configuration.prefix) == (path, "/srv/")
    assert configuration.servers[0].names == ("caf\u00e9",)


def test_a_prefix_has_a_slash_at_its_end():
    assert load_text(b"[[http.server]]", "f", "/srv", look_up).prefix == "/srv/"
    assert load_text(b"[[http.server]]", "f", "/", look_up).prefix == "/"


def test_a_missing_file_is_a_problem(tmp_path):
    path = str(tmp_path / "none.toml")
    assert problem_of(load_configuration, path, "/", look_up) == f'open() "{path}" failed (2: No such file or directory)'


def test_a_directory_is_no_file(tmp_path):
    assert problem_of(read_file, str(tmp_path)) == f'open() "{tmp_path}" failed (21: Is a directory)'


def test_a_name_with_a_zero_byte_is_no_file():
    assert problem_of(read_file, "a\0b") == 'open() "a\0b" failed (22: embedded null byte)'


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_problem(file):
    path = file("")
    os.chmod(path, 0)
    assert problem_of(read_file, path) == f'open() "{path}" failed (13: Permission denied)'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"# caf\xe9\n", "not UTF-8: byte 0xe9 in {path}:1:6"),
        (b"a = 1\nb = '\xff'\n", "not UTF-8: byte 0xff in {path}:2:6"),
        (b"\xff\xfea\x00", "not UTF-8: byte 0xff in {path}:1:1"),
    ],
)
def test_a_file_is_utf_8(file, content, problem):
    path = file(content)
    assert problem_of(load_configuration, path, "/", look_up) == problem.format(path=path)


def test_a_file_is_toml(file):
    path = file("daemon = \n")
    assert problem_of(load_configuration, path, "/", look_up).endswith(f"in {path}:1:10")


def test_a_problem_without_a_place_has_only_words():
    with pytest.raises(ConfigurationError) as error:
        read_file("/nowhere/at/all")
    assert str(error.value) == 'open() "/nowhere/at/all" failed (2: No such file or directory)'
    assert error.value.problems[0].position is None


# The pid file


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        ("", "/srv/run/wproxy.pid"),
        ("pid = 'a.pid'", "/srv/a.pid"),
        ("pid = '/run/a.pid'", "/run/a.pid"),
        ("pid = ['a.pid']", "/srv/a.pid"),
        ("pid = []", "/srv/run/wproxy.pid"),
        ("pid = 'a.pid'\n[http]\nnonsense = true\n[[http.server]]\nlisten = 'x:y:z'", "/srv/a.pid"),
    ],
)
def test_the_pid_file_is_found_whatever_else_is_wrong(file, content, pid):
    assert configured_pid(file(content), "/srv/") == pid


def test_without_a_pid_file_nobody_can_be_found(file):
    path = file("daemon = false\npid = 'off'\n")
    problem = problem_of(configured_pid, path, "/srv/")
    assert problem == f'there is no pid file to find the master by: "pid" is off in {path}:2:1'


def test_a_file_that_is_no_toml_names_no_pid_file(file):
    path = file("pid = ")
    assert problem_of(configured_pid, path, "/srv/").endswith(f"in {path}:1:7")


def test_a_missing_file_names_no_pid_file():
    assert problem_of(configured_pid, "/nowhere.toml", "/") == 'open() "/nowhere.toml" failed (2: No such file or directory)'
