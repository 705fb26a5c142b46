"""What a worker takes up when it begins: nothing in it is read anew, and what fails is told with its directive and its place."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest
from conversation import get

from worker.run import Worker
from wproxy.assignment import Assignment
from wproxy.config.convert import NGINX, TOML, convert
from wproxy.config.load import load_text
from wproxy.failures import CannotBegin
from wproxy.shared import PRIVATE_BYTES, SharedWords

# Every kind of variable that a configuration declares, and what it gives for GET /path with the cookie c=1.
DECLARED = """
error_log DIRECTORY/error.log info;
events {}
http {
    map $uri $mapped { default "a map"; }
    geo $located { default "a network"; }
    split_clients $uri $split { * "a share"; }
    log_format declared "$NAME";
    server {
        listen 127.0.0.1:8080;
        server_name "~^(?<named>.+)$";
        access_log DIRECTORY/access.log declared;
        set $assigned "a value";
        rewrite "^/(?<rewritten>.)" $uri;
        location ~ "^/(?<located_at>.*)$" {
            if ($http_cookie ~ "c=(?<tested>.)") { set $x y; }
            return 200 hello;
        }
    }
}
"""


def as_toml(text: str) -> str:
    """The text of an nginx.conf for a stage: DIRECTORY stands for the one of the stage."""
    toml = convert(text.encode(), NGINX, TOML, "nginx.conf", lambda path: b"", "", lambda pattern: []).decode()
    return toml.replace("{", "{{").replace("}", "}}").replace("DIRECTORY", "{directory}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mapped", b"a map"),
        ("located", b"a network"),
        ("split", b"a share"),
        ("named", b"h"),
        ("assigned", b"a value"),
        ("rewritten", b"p"),
        ("located_at", b"path"),
        ("tested", b"1"),
    ],
)
def test_a_log_format_may_name_any_variable_of_the_configuration(stage, name, value):
    s = stage(peers=0, text=as_toml(DECLARED.replace("NAME", name)))
    client = s.client()
    client.send(get(b"/path", b"Cookie: c=1"))
    client.receives_head()
    client.close()
    s.worker.access_logs.flush()
    with open(f"{s.directory}/access.log", "rb") as file:
        assert file.read() == value + b"\n"


# What fails all the same.


def begin(directive: str, directory: object, after_loading: Callable[[], object] = lambda: None) -> Worker:
    """Begin with a configuration, whose fifth line is this directive; something may happen after it has been loaded."""
    text = f"""events {{}}
error_log stderr;
http {{
access_log off; server {{
{directive}
listen 127.0.0.1:8080; }} }}
"""
    configuration = load_text(text.encode(), "nginx.conf", str(directory), lambda host, port: [])
    after_loading()
    words = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
    return Worker(Assignment(configuration, 0, 0, 1, (), words, -1, -1))


def test_a_failure_names_the_directive_that_asked_for_it_and_its_place(tmp_path, monkeypatch):
    with pytest.raises(CannotBegin) as failure:
        begin("brotli on;", tmp_path, lambda: monkeypatch.setitem(sys.modules, "brotli", None))
    assert re.fullmatch(r'ModuleNotFoundError: .*brotli.*, for "brotli" in nginx.conf:5', str(failure.value))
    assert failure.value.is_bug, "its traceback helps"


@pytest.mark.parametrize("directive", ["access_log", "error_log"])
def test_a_log_that_can_no_longer_be_opened_is_no_bug(tmp_path, directive):
    (tmp_path / "logs").mkdir()
    with pytest.raises(CannotBegin) as failure:
        begin(f"{directive} logs/a.log;", tmp_path, (tmp_path / "logs").rmdir)
    path = f"{tmp_path}/logs/a.log"
    assert str(failure.value) == f'open() "{path}" failed (2: No such file or directory), for "{directive}" in nginx.conf:5'
    assert not failure.value.is_bug
