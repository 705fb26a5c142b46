"""`wproxy explain` beside a running wproxy on the same file, and what the command says to nonsense."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest
from harness import Wproxy, wproxy
from recorder import Recorder
from wire import Wire

from wproxy.__main__ import main
from wproxy.regex import install_guard
from wproxy.variables import hear_complaints

pytestmark = pytest.mark.whole

HTTP = """
map."$http_upgrade $connection_upgrade" = { default = "upgrade", "" = "close" }
[http.upstream.app]
server = "BACKEND"
[[http.server]]
listen = ["127.0.0.1:{port}", "unix:SOCKET"]
server_name = ["app.example", "*.app.example"]
root = "ROOT"
error_page = [["404", "/missing.html"]]
add_header = [["X-Front", "wproxy"]]
[http.server.location."/"]
try_files = ["$uri", "@app"]
[http.server.location."@app"]
proxy_pass = "http://app"
[http.server.location."@app".proxy_set_header]
Host = "$host"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
Upgrade = "$http_upgrade"
Connection = "$connection_upgrade"
[http.server.location."/strip/"]
proxy_pass = "http://app/under/"
[http.server.location."/files/"]
expires = "1h"
[http.server.location."= /moved"]
return = [301, "/files/"]
[http.server.location."~ ^/slow/(a+)+$"]
return = 200
"""

# Method, target, fields.
REQUESTS = (
    ("GET", "/", ()),
    ("GET", "/x/%7Ey//z?q=%20#", ("X-Forwarded-For: 1.2.3.4", "Accept: */*")),
    ("GET", "/x", ("Upgrade: websocket", "Connection: upgrade")),
    ("GET", "/strip/a%20b?q", ("Cookie: a=b", "TE: trailers")),
    ("GET", "/strip?q", ()),
    ("GET", "/files/a.txt", ()),
    ("HEAD", "/files/a.txt", ()),
    ("GET", "/files/none", ()),
    ("GET", "/moved", ()),
    ("DELETE", "/strip/", ("Host: other.example",)),
)


@pytest.fixture(scope="module")
def backend() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, backend: Recorder) -> Iterator[Wproxy]:
    directory = tmp_path_factory.mktemp("explain")
    (directory / "files").mkdir()
    (directory / "files" / "a.txt").write_text("a file")
    (directory / "missing.html").write_text("nothing here")
    http = HTTP.replace("BACKEND", f"127.0.0.1:{backend.port}").replace("ROOT", str(directory))
    with Wproxy(directory, http.replace("SOCKET", str(directory / "s.sock"))) as running:
        yield running


@pytest.fixture
def explained(front: Wproxy, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator:
    """The command without a process of its own: its exit code, output and errors."""
    handler = signal.getsignal(signal.SIGVTALRM)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["explain", "-c", str(front.file), *words])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    yield run
    install_guard(None)
    signal.signal(signal.SIGVTALRM, handler)
    hear_complaints(lambda request, level, text: None)


@pytest.mark.parametrize("method, target, fields", REQUESTS)
def test_what_is_explained_is_what_happens(front, backend, explained, method, target, fields):
    backend.requests.clear()
    url = f"http://app.example:{front.port}{target}"
    code, out, err = explained("--json", "-X", method, *(word for field in fields for word in ("-H", field)), url)
    assert (code, err) == (0, "")
    told = json.loads(out)
    with Wire(front.port) as wire:
        head = told["request_head"].encode("latin-1")
        assert head.startswith(f"{method} {target.partition('#')[0]} HTTP/1.1\r\n".encode())
        wire.send(head)
        answer = wire.answer(method)
    if told["upstream_head"]:
        assert told["upstream_head"] == backend.one().head.decode("latin-1") + "\r\n\r\n"
        assert (told["action_kind"], told["upstream"]) == ("proxy", "app")
    else:
        assert not backend.requests
        assert answer.status == told["status"]
        assert answer.all("location") == ([told["redirect"]] if told["redirect"] else [])
    if told["action_kind"] == "file" and method == "GET":
        with open(told["file"], "rb") as file:
            assert file.read() == answer.body
    for field in told["added_fields"]:
        name, _, value = field.partition(": ")
        assert name == "Expires" or value in answer.all(name)
    assert ("X-Front: wproxy" in told["added_fields"]) == (told["status"] != 404)


def test_people_get_it_from_a_process_of_its_own(front):
    done = wproxy("explain", "-c", str(front.file), f"http://a.app.example:{front.port}/files/a.txt")
    assert (done.code, done.errors) == (0, "")
    assert re.search(
        r'^server +app\.example at .*wproxy\.toml:\d+:\d+: its wildcard "\*\.app\.example" \(.*\) fits "a\.app', done.output, re.M
    )
    assert re.search(r"^action +answer with 200, the file .*/files/a\.txt \(.*wproxy\.toml:\d+:\d+\)$", done.output, re.M)
    assert re.search(r"^    expires +1h  \(.*wproxy\.toml:\d+:\d+\)$", done.output, re.M)


def test_a_unix_socket_is_chosen_by_its_address(front, explained):
    code, out, _ = explained("--listen", f"unix:{front.directory}/s.sock", "--client", "unix:", "--json", "http://app.example/x")
    told = json.loads(out)
    assert (code, told["listener"]) == (0, f"unix:{front.directory}/s.sock")
    assert "\r\nX-Forwarded-For: unix:\r\n" in told["upstream_head"]


def test_a_pathological_regex_ends_with_a_clear_line(front, explained):
    code, out, err = explained(f"http://app.example:{front.port}/slow/{'a' * 60}!")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r'wproxy: \[error\] the request is refused with 500: regex "\^/slow/\(a\+\)\+\$" took more than 100 ms .*\n', err
    )


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["/path"], r'no host in the URL "/path"'),
        (["http://x:1/"], r"nothing listens on port 1: there is 127\.0\.0\.1:\d+, unix:"),
        (["ftp://x/"], r'unknown scheme "ftp"'),
        (["http://[::1/"], "invalid IPv6 address"),
        (["http://x/", "-X", "G T"], 'invalid method "G T"'),
        (["http://x/", "-X", "get"], "the request is refused with 400: client sent invalid method"),
        (["http://x/", "-H", "novalue"], 'no header field: "novalue"'),
        (["http://x/", "-H", "A: b\r\nC: d"], r'a line break or zero byte in the header field "A: b\\r\\nC: d"'),
        (["http://x/", "-H", "A B: c"], "the request is refused with 400: client sent invalid header line"),
        (["http://x/", "--client", "me"], 'the client "me" is no IP address'),
        (["http://x/", "--listen", "unix:/none"], 'nothing listens on "unix:/none"'),
        (["-c", "/none.conf", "http://x/"], r'open\(\) "/none\.conf" failed \(2: No such file or directory\)'),
    ],
)
def test_nonsense_gets_one_line(explained, words, complaint):
    code, out, err = explained(*words)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert re.match(rf"wproxy: \[(error|emerg)\] {complaint}", err), err


def test_a_broken_configuration_gets_all_its_lines(explained, tmp_path):
    file = tmp_path / "a.conf"
    file.write_text("events {}\nhttp {\nserver { listn 80;\nroot; }\n}\n")
    code, out, err = explained("-c", str(file), "http://x/")
    assert (code, out) == (1, "")
    assert [line.rpartition(":")[2] for line in err.splitlines()] == ["3", "4"]
