"""The command line: words to values."""

from __future__ import annotations

import os
import re

import pytest

from wproxy.__main__ import DEEDS, main
from wproxy.cli import COMMANDS, DEFAULT_FILES, configuration_file, is_for_nginx, parser, prefix_of
from wproxy.version import VERSION


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("start", {"command": "start", "config": None, "prefix": None, "foreground": False}),
        ("start -c a.toml -p /srv --foreground", {"config": "a.toml", "prefix": "/srv", "foreground": True}),
        ("start --config=a.toml --prefix=/srv", {"config": "a.toml", "prefix": "/srv"}),
        ("stop", {"command": "stop", "config": None}),
        ("quit -c a.toml", {"command": "quit", "config": "a.toml"}),
        ("reload", {"command": "reload"}),
        ("reopen", {"command": "reopen"}),
        ("status", {"command": "status", "json": False}),
        ("status --json -c a.toml", {"json": True, "config": "a.toml"}),
        ("proxy 8080 a:1", {"command": "proxy", "listen": "8080", "upstream": ["a:1"], "workers": "auto", "show_config": False}),
        ("proxy --workers 2 --show-config 8080 a:1 b:2", {"upstream": ["a:1", "b:2"], "workers": "2", "show_config": True}),
        ("proxy [::1]:80 unix:/a.sock", {"listen": "[::1]:80", "upstream": ["unix:/a.sock"]}),
        ("demo", {"command": "demo", "config": None, "once": False}),
        ("demo --once -c a.toml", {"once": True, "config": "a.toml"}),
    ],
)
def test_a_command_line_is_read(line, values):
    given = vars(parser().parse_args(line.split()))
    assert {name: given[name] for name in values} == values


@pytest.mark.parametrize("line", ["", "strat", "start now", "proxy", "proxy 8080", "status --yaml", "start -c", "-c a.toml"])
def test_a_command_line_that_makes_no_sense_ends_with_2_and_a_usage(line, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(line.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("usage: wproxy")


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["--version"])
    assert not end.value.code
    assert capsys.readouterr().out.startswith(f"wproxy {VERSION} (")


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {command.name} " in text for command in COMMANDS)
    assert {"start", "stop", "quit", "reload", "reopen", "status", "proxy", "demo"} <= {command.name for command in COMMANDS}


def test_every_command_has_its_deed():
    assert set(DEEDS) == {command.name for command in COMMANDS}


@pytest.mark.parametrize(
    ("word", "is_nginx_s"), [("-t", True), ("-x", True), ("-", True), ("--help", False), ("start", False), ("", False)]
)
def test_a_first_word_with_one_dash_is_for_nginx(word, is_nginx_s):
    assert is_for_nginx(word) == is_nginx_s


# nginx's way, as far as it needs no configuration.


@pytest.mark.parametrize(
    ("words", "errors", "code"),
    [
        (["-v"], f"wproxy version: wproxy/{VERSION}\n", 0),
        (["--as-nginx", "-v"], "nginx version: nginx/1.31.5\n", 0),
        (["--as-nginx", "start"], 'nginx: invalid option: "start"\n', 1),
        (["-x"], 'wproxy: invalid option: "x"\n', 1),
        (["--as-nginx", "-s", "foo"], 'nginx: invalid option: "-s foo"\n', 1),
        (
            ["--as-nginx", "-t", "-e", "stderr", "-v", "-c", "/none/nginx.conf"],
            "nginx version: nginx/1.31.5\nDATE [emerg] PID: open() "
            '"/none/nginx.conf" failed (2: No such file or directory)\nnginx: configuration file /none/nginx.conf test failed\n',
            1,
        ),
    ],
)
def test_nginx_s_options_are_answered_on_stderr(words, errors, code, capfd):
    assert main(words) == code
    told = capfd.readouterr()
    assert told.out == ""
    assert re.sub(r"\d+#\d+", "PID", re.sub(r"\d{4}/\d\d/\d\d [\d:]{8}", "DATE", told.err)) == errors


# The configuration file and the prefix


def test_the_file_given_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wproxy.toml").touch()
    assert configuration_file("other.toml") == "other.toml"
    assert configuration_file("") == ""


def test_without_one_the_file_is_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wproxy.toml").touch()
    assert configuration_file(None) == "wproxy.toml"


def test_then_that_of_the_machine_and_failing_both_the_first_is_missed(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: path == DEFAULT_FILES[1])
    assert configuration_file(None) == "/etc/wproxy/wproxy.toml"
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert configuration_file(None) == "wproxy.toml"


@pytest.mark.parametrize(
    ("given", "file", "prefix"),
    [
        (None, "wproxy.toml", "{here}/"),
        (None, "conf/wproxy.toml", "{here}/conf/"),
        (None, "../wproxy.toml", "{above}/"),
        (None, "/etc/wproxy/wproxy.toml", "/etc/wproxy/"),
        (None, "/wproxy.toml", "/"),
        ("/srv", "/etc/wproxy.toml", "/srv/"),
        ("/srv/", "/etc/wproxy.toml", "/srv/"),
        ("/", "/etc/wproxy.toml", "/"),
        ("sub", "/etc/wproxy.toml", "{here}/sub/"),
        (".", "/etc/wproxy.toml", "{here}/"),
    ],
)
def test_relative_paths_start_at_the_prefix_else_beside_the_file(tmp_path, monkeypatch, given, file, prefix):
    monkeypatch.chdir(tmp_path)
    assert prefix_of(given, file) == prefix.format(here=tmp_path, above=tmp_path.parent)
