"""From a file to the model: what can be wrong before there is a tree, and the pid file that a configuration names."""

from __future__ import annotations

import os

import pytest

from wproxy.config.load import configured_pid, load_configuration, load_document, load_text, matching_files, read_file
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
    assert [name.text for name in configuration.servers[0].names] == ["caf\u00e9"]


def test_a_prefix_has_a_slash_at_its_end():
    assert load_text(b"[[http.server]]", "f.toml", "/srv", look_up).prefix == "/srv/"
    assert load_text(b"[[http.server]]", "f.toml", "/", look_up).prefix == "/"


def test_a_missing_file_is_a_problem(tmp_path):
    path = str(tmp_path / "none.toml")
    assert problem_of(load_configuration, path, "/", look_up) == f'open() "{path}" failed (2: No such file or directory)'


def test_a_directory_is_no_file(tmp_path):
    assert problem_of(read_file, str(tmp_path)) == f'open() "{tmp_path}" failed (21: Is a directory)'


def test_a_name_with_a_zero_byte_is_no_file():
    assert problem_of(read_file, "a\0b") == 'open() "a\\x00b" failed (22: embedded null byte)'


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
        (b"\xff\xfea\x00", "the file is UTF-16: save it as UTF-8 in {path}:1"),
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


# Two syntaxes


@pytest.fixture
def folder(tmp_path):
    """Writes files by name, returns the path of the first."""

    def write(**files: str) -> str:
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        return str(tmp_path / next(iter(files)).replace("_", "."))

    return write


def test_the_name_of_a_file_says_its_syntax(folder):
    for path in (
        folder(a_conf="events {}\nhttp { server { server_name a; } }"),
        folder(a_toml="[events]\n[[http.server]]\nserver_name = 'a'"),
        folder(other="events {}\nhttp { server { server_name a; } }"),
    ):
        configuration = load_configuration(path, "/srv/", look_up)
        assert [name.text for name in configuration.servers[0].names] == ["a"]


def test_what_is_included_is_relative_to_the_main_file(folder, tmp_path):
    path = folder(a_conf="include b/*.conf; include c.conf;", b__y_conf="y;", b__x_conf="x; include c.conf;", c_conf="c;")
    document = load_document(path)
    assert [node.name for node in document.root.children] == ["x", "c", "y", "c"]
    assert [source.name for source in document.files] == [
        str(tmp_path / name) for name in ("a.conf", "b/x.conf", "c.conf", "b/y.conf")
    ]
    assert document.files[2].content == b"c;"


def test_a_toml_file_may_include_both(folder):
    path = folder(a_toml="include = ['b/*.toml', 'c.conf']", b__x_toml="daemon = true", c_conf="user a b;")
    assert [(node.name, node.arguments) for node in load_document(path).root.children] == [
        ("daemon", ("on",)),
        ("user", ("a", "b")),
    ]


def test_the_main_arguments_come_first(folder):
    document = load_document(folder(a_conf="pid a;"), "pid b; daemon off;")
    assert [str(node.position).rpartition("/")[2] for node in document.root.children] == [
        "command line",
        "command line",
        "a.conf:1",
    ]


def test_a_missing_include_is_named_where_it_is_asked_for(folder, tmp_path):
    path = folder(a_conf="events {}\ninclude no.conf;")
    expected = f'open() "{tmp_path}/no.conf" failed (2: No such file or directory) in {path}:2'
    assert problem_of(load_document, path) == expected


def test_patterns_match_in_the_order_of_bytes(folder, tmp_path):
    folder(b_c="", B_c="", a_c="", _hidden_c="")
    assert [os.path.basename(name) for name in matching_files(f"{tmp_path}/*.c")] == ["B.c", "a.c", "b.c"]
    assert list(matching_files(f"{tmp_path}/none/*")) == []


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


def test_the_pid_file_is_found_in_either_syntax(folder):
    assert configured_pid(folder(a_conf="include b.conf;\nhttp { nonsense; }", b_conf="pid b.pid;"), "/srv/") == "/srv/b.pid"
    assert configured_pid(folder(a_conf="events {}"), "/srv/") == "/srv/run/wproxy.pid"
    assert configured_pid(folder(a_conf="events {}"), "/srv/", "pid /run/x;") == "/run/x"


def test_without_a_pid_file_nobody_can_be_found(file):
    path = file("daemon = false\npid = 'off'\n")
    problem = problem_of(configured_pid, path, "/srv/")
    assert problem == f'there is no pid file to find the master by: "pid" is off in {path}:2:1'


def test_a_file_that_is_no_toml_names_no_pid_file(file):
    path = file("pid = ")
    assert problem_of(configured_pid, path, "/srv/").endswith(f"in {path}:1:7")


def test_a_missing_file_names_no_pid_file():
    assert problem_of(configured_pid, "/nowhere.toml", "/") == 'open() "/nowhere.toml" failed (2: No such file or directory)'
