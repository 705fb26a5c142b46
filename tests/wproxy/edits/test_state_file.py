"""The file of `state`: what is written is read again, and nothing else may stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError
from wproxy.directives.upstream import upstream_server
from wproxy.edits.state import read_state, state_text

CONFIGURATION = b"""
events {}
http {
    upstream app { state app.state; }
    server { listen 8080; location / { proxy_pass http://app; } }
}
"""


def load(directory: Path, text: bytes = CONFIGURATION):
    return load_text(text, "x.conf", str(directory), lambda host, port: [Address("192.0.2.1", port)])


def test_servers_are_read_as_they_were_written():
    servers = [
        upstream_server("127.0.0.1:80"),
        upstream_server("unix:/run/a;b c.sock", "weight=3", "down"),
        upstream_server("app.example", "resolve", "service=http", "route=$x{"),
    ]
    nodes = read_state(state_text(servers), "app.state")
    assert [upstream_server(*node.arguments) for node in nodes] == servers


def test_an_upstream_has_the_servers_of_its_file_and_none_where_there_is_no_file(tmp_path):
    assert load(tmp_path).upstreams[0].peers == ()
    (tmp_path / "app.state").write_text("server 10.0.0.1:80 weight=3;\nserver 10.0.0.2:80 backup down;\n")
    first, second = load(tmp_path).upstreams[0].peers
    assert (first.name, first.weight) == ("10.0.0.1:80", 3)
    assert (second.backup, second.down) == (True, True)


def test_all_primaries_may_be_gone(tmp_path):
    (tmp_path / "app.state").write_text("server 10.0.0.2:80 backup;\n")
    assert len(load(tmp_path).upstreams[0].peers) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("include /etc/passwd;", 'open() "/etc/passwd" failed (2: No such file or directory) in {path}:1'),
        ("least_conn;", '"least_conn" directive is not allowed here in {path}:1'),
        ("server 10.0.0.1:80 weight=x;", 'invalid parameter "weight=x" in {path}:1'),
        ("server 10.0.0.1:80", 'unexpected end of file, expecting ";" or "}}" in {path}:2'),
        ("server a { }", "{path}:1"),
    ],
)
def test_anything_else_in_it_is_an_error_at_its_place(tmp_path, text, problem):
    (tmp_path / "app.state").write_text(text + "\n")
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path)
    assert problem.format(path=f"{tmp_path}/app.state") in str(error.value)


def test_servers_beside_a_state_are_an_error(tmp_path):
    text = CONFIGURATION.replace(b"state app.state;", b"state app.state; server 10.0.0.9;")
    with pytest.raises(ConfigurationError, match='"server" is not allowed here, the servers are kept in the file of "state"'):
        load(tmp_path, text)


def test_the_socket_of_the_api_is_there_where_there_is_something_to_control(tmp_path):
    control = load(tmp_path).control
    assert control is not None
    assert control.address == Address(f"{tmp_path}/run/wproxy-api.sock", -1)
    assert (control.mode, control.is_optional) == (0o600, True)
    named = load(tmp_path, b"api_socket /x.sock;" + CONFIGURATION).control
    assert named is not None
    assert (named.address.host, named.is_optional) == ("/x.sock", False)
    assert load(tmp_path, b"api_socket off;" + CONFIGURATION).control is None
    plain = b"events {} http { server { listen 8080; location / { proxy_pass http://127.0.0.1:1; } } }"
    assert load(tmp_path, plain).control is None


def test_a_path_that_is_too_long_for_a_socket(tmp_path):
    long = "x" * 120
    assert load(tmp_path / long).control is None, "nobody has asked for it"
    with pytest.raises(ConfigurationError, match=r"too long path in the unix domain socket .* in x\.conf:1"):
        load(tmp_path, f"api_socket {long};".encode() + CONFIGURATION)
