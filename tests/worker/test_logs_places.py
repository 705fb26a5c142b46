"""Where access lines go and when: buffers, gzip, conditions, names with variables, syslog; and error logs of a location's own."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import socket

import pytest
from conversation import Stage, get, to_client

TEXT = """\
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = %s
[http.log_format]
plain = '$uri'
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "front"
root = "{directory}"
[http.server.location."/"]
return = [200, "hello"]
%s
"""


def logging(stage, access_log: str, more: str = "") -> Stage:
    return stage(peers=0, text=TEXT % (access_log, more))


def ask(s: Stage, *targets: bytes, fields: tuple[bytes, ...] = (), leave: bool = True) -> None:
    client = s.client()
    for target in targets:
        client.send(get(target, *fields))
        client.receives(to_client(b"hello", content_type=b"text/plain"))
    if leave:
        client.close()


def written(s: Stage, name: str = "access.log") -> bytes:
    with open(f"{s.directory}/{name}", "rb") as file:
        return file.read()


def wait(s: Stage, seconds: float) -> bool:
    s.advance(seconds)
    return s.worker.access_logs.flush_if_due()


# Buffers.


def test_a_buffer_waits_until_it_is_full(stage):
    s = logging(stage, '[["{directory}/access.log", "plain", "buffer=10"]]')
    ask(s, b"/a", b"/b")
    assert wait(s, 3600) is False
    assert written(s) == b""
    ask(s, b"/c", b"/d")
    assert written(s) == b"/a\n/b\n/c\n/d\n"


def test_a_buffer_waits_no_longer_than_flush(stage):
    s = logging(stage, '[["{directory}/access.log", "plain", "buffer=4k", "flush=5s"]]')
    ask(s, b"/a")
    assert wait(s, 1) is True
    ask(s, b"/b")
    assert wait(s, 3) is True
    assert written(s) == b""
    assert wait(s, 3) is False
    assert written(s) == b"/a\n/b\n"
    ask(s, b"/c")
    assert wait(s, 3) is True
    assert written(s) == b"/a\n/b\n"


@pytest.mark.parametrize("end", ["close", "reopen"])
def test_a_buffer_is_written_at_the_end_and_before_a_rotation(stage, end):
    s = logging(stage, '[["{directory}/access.log", "plain", "buffer=4k"]]')
    ask(s, b"/a")
    getattr(s.worker.access_logs, end)()
    assert written(s) == b"/a\n"


def test_one_log_with_a_buffer_makes_its_file_gather(stage):
    s = logging(stage, '[["{directory}/access.log", "plain"], ["{directory}/access.log", "plain", "buffer=4k"]]')
    ask(s, b"/a")
    wait(s, 1)
    assert written(s) == b""
    s.worker.access_logs.flush()
    assert written(s) == b"/a\n/a\n"


def test_a_log_without_a_buffer_beside_one_with_it_is_written_promptly(stage):
    s = logging(stage, '[["{directory}/access.log", "plain", "buffer=4k"], ["{directory}/prompt.log", "plain"]]')
    wait(s, 1)
    ask(s, b"/a", leave=False)
    assert s.worker.access_logs.flush_if_due() is True
    assert wait(s, 1) is False
    assert written(s) == b""
    assert written(s, "prompt.log") == b"/a\n"


def test_each_flush_is_a_gzip_member(stage):
    s = logging(stage, '[["{directory}/access.log", "plain", "gzip=9"]]')
    ask(s, b"/a", b"/b")
    s.worker.access_logs.flush()
    first = written(s)
    ask(s, b"/c")
    s.worker.reopen_logs()
    assert gzip.decompress(first) == b"/a\n/b\n"
    assert first[:2] == written(s)[len(first) :][:2] == b"\x1f\x8b"
    assert gzip.decompress(written(s)) == b"/a\n/b\n/c\n"


# Conditions.


@pytest.mark.parametrize(
    ("condition", "logged"), [("$arg_log", b"/yes\n/many\n"), ("1", None), ("0", b""), ("", b""), ("x$arg_log", None)]
)
def test_a_condition_that_is_empty_or_0_logs_nothing(stage, condition, logged):
    s = logging(stage, f'[["{{directory}}/access.log", "plain", "if={condition}"]]')
    ask(s, b"/no", b"/yes?log=1", b"/zero?log=0", b"/many?log=00", b"/empty?log=")
    s.worker.access_logs.flush()
    assert written(s) == (b"/no\n/yes\n/zero\n/many\n/empty\n" if logged is None else logged)


def test_a_location_without_a_log_has_nothing_to_call(stage):
    s = logging(stage, '"off"')
    (server,) = s.configuration.servers
    assert {location.route.write_log for location in server.each_location()} == {None}
    s = logging(stage, '[["{directory}/access.log", "plain", "if="]]')
    assert {location.route.write_log for location in s.configuration.servers[0].each_location()} == {None}


# Names with variables.


def test_a_name_with_variables_is_opened_for_each_line(stage):
    s = logging(stage, '[["{directory}/$arg_n.log", "plain"]]')
    ask(s, b"/a?n=1", b"/b?n=2", b"/c?n=1")
    assert written(s, "1.log") == b"/a\n/c\n"
    assert written(s, "2.log") == b"/b\n"
    os.rename(f"{s.directory}/1.log", f"{s.directory}/1.old")
    ask(s, b"/d?n=1")
    assert written(s, "1.log") == b"/d\n"


def test_a_relative_name_begins_at_the_prefix(stage):
    s = logging(stage, '[["x-$arg_n", "plain"]]')
    ask(s, b"/a?n=1")
    assert written(s, "x-1") == b"/a\n"


def test_it_is_written_only_if_the_root_directory_exists(stage):
    more = '[http.server.location."/gone"]\nroot = "{directory}/nothere"\nreturn = [200, "hello"]\n'
    more += '[http.server.location."/file"]\nroot = "{directory}/error.log"\nreturn = [200, "hello"]\n'
    s = logging(stage, '[["{directory}/v-$arg_n.log", "plain"]]', more)
    ask(s, b"/gone?n=1", b"/file?n=1")
    assert not os.path.exists(f"{s.directory}/v-1.log")
    gone, file = s.error_log()
    assert f'[error] {os.getpid()}#{os.getpid()}: *1 testing "{s.directory}/nothere" existence failed (2: No such' in gone
    assert "while logging request, client: 127.0.0.1, server: front, request:" in gone
    assert f'testing "{s.directory}/error.log" existence failed (20: Not a directory)' in file


def test_a_name_that_cannot_be_opened_is_told(stage):
    s = logging(stage, '[["{directory}/$arg_n.log", "plain"]]')
    ask(s, b"/a?n=no/such")
    (line,) = s.error_log()
    assert f'*1 open() "{s.directory}/no/such.log" failed (2: No such file or directory) while logging request' in line
    assert "[crit]" in line


def test_a_client_cannot_climb_out_of_the_directory(stage):
    s = logging(stage, '[["{directory}/logs/$arg_n.log", "plain"]]')
    os.makedirs(f"{s.directory}/logs", exist_ok=True)
    ask(s, b"/a?n=../escaped", b"/b?n=x/../../escaped")
    assert not os.path.exists(f"{s.directory}/escaped.log")
    assert len(s.error_log()) == 2
    assert all("is not safe while logging request" in line for line in s.error_log())


# Syslog.


@pytest.fixture
def syslog(tmp_path):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(3)
    yield server
    server.close()


def test_a_line_goes_to_syslog_at_once(stage, syslog):
    port = syslog.getsockname()[1]
    s = logging(stage, f'[["syslog:server=127.0.0.1:{port},nohostname,tag=front,severity=debug", "plain"]]')
    ask(s, b"/a")
    message = syslog.recv(4096)
    assert message.startswith(b"<191>")
    assert message.endswith(b" front: /a")


def test_the_tag_is_our_name_unless_it_is_given(stage, syslog):
    s = logging(stage, f'[["syslog:server=127.0.0.1:{syslog.getsockname()[1]}", "plain"]]')
    ask(s, b"/a")
    assert syslog.recv(4096).endswith(b" wproxy: /a")


def test_lines_that_syslog_did_not_take_are_reported(stage):
    s = logging(stage, '[["syslog:server=unix:{directory}/nothere", "plain"]]')
    ask(s, b"/a", b"/b")
    wait(s, 1)
    (line,) = s.error_log()
    assert "[alert]" in line
    assert (
        f'send() to syslog server "unix:{s.directory}/nothere" failed (2: No such file or directory), access log lines lost: 2'
        in line
    )


# A full disk.


@pytest.fixture
def room():
    """A function that leaves room for so many bytes in any file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("parameters", ["", ', "buffer=4k", "flush=50ms"'])
def test_a_full_disk_tears_no_line_and_its_losses_are_told_once_a_minute(stage, room, parameters):
    s = logging(stage, f'[["{{directory}}/access.log", "plain"{parameters}]]')
    told = []
    for targets, pause in (((b"/abc", b"/def"), 1), ((b"/ghi", b"/jkl"), 30), ((), 31)):
        room(7)
        ask(s, *targets)
        s.worker.access_logs.flush()
        room(resource.RLIM_INFINITY)
        wait(s, pause)
        told.append([line.partition("write() ")[2] for line in s.error_log()])
    ask(s, b"/mno")
    s.worker.access_logs.flush()
    assert written(s) == b"/abc\n/mno\n"
    text = f'to "{s.directory}/access.log" failed (28: No space left on device), access log lines lost: '
    assert told == [[text + "1"], [text + "1"], [text + "1", text + "2"]]


def test_a_full_disk_leaves_no_broken_gzip_member(stage, room):
    s = logging(stage, '[["{directory}/access.log", "plain", "gzip"]]')
    ask(s, b"/a")
    s.worker.access_logs.flush()
    room(len(written(s)) + 5)
    ask(s, b"/b", b"/c")
    s.worker.access_logs.flush()
    room(resource.RLIM_INFINITY)
    ask(s, b"/d")
    s.worker.access_logs.close()
    assert gzip.decompress(written(s)) == b"/a\n/d\n"
    assert "access log lines lost: 2" in s.error_log()[-1]


# Error logs of their own.


OWN = """\
[http.server.location."/own"]
error_log = [["{directory}/own.log", "error"]]
[http.server.location."/quiet"]
error_log = [["{directory}/quiet.log", "crit"]]
[http.server.location."/same"]
error_log = [["{directory}/own.log", "error"]]
"""


def test_a_line_about_a_request_goes_to_the_log_of_its_location(stage):
    s = logging(stage, '"off"', OWN.replace("]\n[", ']\nroot = "{directory}/nothere"\n[') + 'root = "{directory}/nothere"\n')
    client = s.client()
    for target in (b"/own/a", b"/quiet/a", b"/same/a"):
        client.send(get(target))
        assert client.take().startswith(b"HTTP/1.1 404 ")
    client.close()
    assert [line.count(b"nothere/own/a") or line.count(b"nothere/same/a") for line in written(s, "own.log").splitlines()] == [
        1,
        1,
    ]
    assert written(s, "quiet.log") == b""
    assert s.error_log() == []


def test_what_comes_before_a_request_goes_to_the_log_of_the_default_server(stage):
    text = (TEXT % ('"off"', "")).replace(
        'server_name = "front"', 'server_name = "front"\nerror_log = [["{directory}/own.log", "info"]]'
    )
    s = stage(peers=0, text=text)
    client = s.client()
    client.send(b"BAD\r\n\r\n")
    client.take()
    client.close()
    assert written(s, "own.log").count(b"while reading client request line") == 1
    assert s.error_log() == []


def test_error_logs_of_locations_are_rotated_too(stage):
    s = logging(stage, '"off"', OWN)
    os.rename(f"{s.directory}/own.log", f"{s.directory}/own.old")
    s.worker.reopen_logs()
    client = s.client()
    client.send(get(b"/own/missing"))
    client.take()
    client.close()
    assert written(s, "own.old") == b""
    assert b"/own/missing" in written(s, "own.log")


def test_a_log_that_cannot_be_reopened_does_not_keep_the_others_from_it(stage):
    s = logging(stage, '[["{directory}/access.log", "plain"]]', OWN)
    for name in ("error.log", "own.log", "access.log"):
        os.rename(f"{s.directory}/{name}", f"{s.directory}/{name}.old")
    os.mkdir(f"{s.directory}/own.log")
    s.worker.reopen_logs()
    assert any("own.log" in line and "(21: Is a directory)" in line for line in s.error_log())
    ask(s, b"/a")
    s.worker.access_logs.flush()
    assert written(s) == b"/a\n"
