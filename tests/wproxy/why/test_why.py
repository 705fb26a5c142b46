"""`wproxy why`: lines of nginx and of wproxy, what they tell, their groups, and the report.

nginx_error.log is the error log of nginx 1.22 before peers that fail, and clients that misbehave, in every way.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from wproxy.why.causes import NOTHING, cause_of
from wproxy.why.command import read_since, run_why
from wproxy.why.groups import MOST_GROUPS, MOST_REQUESTS, OTHER, gather
from wproxy.why.lines import read_line
from wproxy.why.report import as_json, as_text

NGINX = Path(__file__).with_name("nginx_error.log")
CLIENT = 'client: 127.0.0.1, server: app, request: "GET /a,b?c HTTP/1.1"'
LINE = "2026/11/30 14:03:07 [error] 7#7: *9 "
TIMED_OUT = "upstream timed out (110: Connection timed out) while reading response header from upstream"
SLOW = f'{LINE}{TIMED_OUT}, {CLIENT}, upstream: "http://10.0.1.11:8000/a", host: "h" (proxy_read_timeout 60: nginx.conf:31:9)'


def test_every_line_of_nginx_is_understood():
    found = gather(NGINX.read_text("utf-8").splitlines())
    assert (found.not_understood, found.odd) == (0, "")
    counts = Counter({code: 0 for code, *_ in found.groups})
    for group in found.groups.values():
        counts[group.code] += group.count
    assert counts == {
        **dict.fromkeys(("up_none", "up_unreachable", "deny_rule", "limit_req", "limit_conn", "conf_cycle", "dns_failed"), 1),
        **dict.fromkeys(("dns_timeout", "up_reset", "up_connect_timeout", "up_head_too_big", "up_bad_body"), 1),
        **dict.fromkeys(("cl_bad_body", "up_body_timeout"), 1),
        "cl_left": 2,
        "up_refused": 3,
        "deny_auth": 3,
        "file": 3,
        "conf_value": 2,
        "up_closed": 2,
        "up_head_timeout": 2,
        "up_cut": 3,
        "cl_left_late": 4,
        "up_bad_head": 2,
        "up_tls": 2,
        "cl_body_too_big": 2,
        "cl_head_too_big": 2,
        "cl_head_timeout": 2,
        "cl_bad_request": 8,
    }


def test_a_line_is_split_from_the_right():
    line = read_line(SLOW)
    assert line is not None
    assert (line.text, line.level, line.at) == (TIMED_OUT, "error", datetime(2026, 11, 30, 14, 3, 7).timestamp())
    assert line.details == {
        "client": "127.0.0.1",
        "server": "app",
        "request": "GET /a,b?c HTTP/1.1",
        "upstream": "http://10.0.1.11:8000/a",
        "host": "h",
    }
    assert (line.setting, line.value, line.place) == ("proxy_read_timeout", "60", "nginx.conf:31:9")


@pytest.mark.parametrize("place", ["nginx.conf:31", "/etc/nginx/conf.d/a b.conf:31", "x.toml:31:9", "default"])
def test_the_place_of_a_setting_has_a_column_only_in_toml(place):
    line = read_line(SLOW.replace("nginx.conf:31:9", place))
    assert line is not None
    assert (line.setting, line.value, line.place, line.details["host"]) == ("proxy_read_timeout", "60", place, "h")


def test_a_long_request_is_shown_in_part():
    shown = as_text(gather([SLOW.replace("/a,b?c", "/" + "x" * 900)]), 20)
    assert f"   GET /{'x' * 75}... 1\n" in shown


def test_a_request_may_look_like_the_rest_of_a_line():
    request = 'GET /x", client: 6.6.6.6, server: evil HTTP/1.1'
    line = read_line(f'{LINE}access forbidden by rule, client: 10.0.0.1, server: app, request: "{request}", host: "h"')
    assert line is not None
    assert line.details == {"client": "10.0.0.1", "server": "app", "request": request, "host": "h"}


def test_json_says_the_same():
    shown = {
        "level": "error",
        "timestamp": "2026-05-13T10:30:15.042+00:00",
        "pid": 1,
        "msg": "connect() failed",
        "doing": "connecting to upstream",
        "client": "10.0.0.1",
        "server": "app",
        "request": "GET / HTTP/1.1",
        "upstream": "http://10.0.1.11:8000/",
        "errno": 111,
        "errtext": "Connection refused",
    }
    line = read_line(json.dumps(shown))
    assert line is not None
    assert line.text == "connect() failed (111: Connection refused) while connecting to upstream"
    assert cause_of(line) == "up_refused"
    own = read_line(json.dumps(shown | {"code": "up_tls", "setting": {"name": "a", "value": "1", "at": "f:1:2"}}))
    assert own is not None
    assert (cause_of(own), own.setting, own.value, own.place) == ("up_tls", "a", "1", "f:1:2")


@pytest.mark.parametrize("raw", ["", "nothing", "{", "[]", '{"msg": 1}', "2026/99/99", "2026/11/30 14:03:07 [error] what"])
def test_what_is_no_line(raw):
    assert read_line(raw) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("upstream timed out (110: Connection timed out) while proxying upgraded connection", "tun_idle"),
        ('pwritev() "/var/proxy_temp/1" failed (28: No space left on device) while reading upstream', "disk"),
        ("64 worker_connections are not enough while connecting to upstream", "no_room"),
        ("a.test could not be resolved (3: Host not found)", "dns_failed"),
        ('FastCGI sent in stderr: "PHP message: x" while reading response header from upstream', "up_said"),
        ("client sent plain HTTP request to HTTPS port while reading client request headers", "cl_tls_plain"),
        ("send() failed (32: Broken pipe) while sending response to client", "cl_left_late"),
        ("an upstream response is buffered to a temporary file /var/proxy_temp/1 while reading upstream", NOTHING),
        ("something that nobody has ever seen", None),
    ],
)
def test_further_texts(text, code):
    line = read_line(f"{LINE}{text}, {CLIENT}")
    assert line is not None
    assert cause_of(line) == code


def test_the_report():
    refused = "connect() failed (111: Connection refused) while connecting to upstream"
    early = SLOW.replace("14:03:07", "13:58:02").replace("/a,b?c", "/report")
    other = f'{LINE}{refused}, {CLIENT}, upstream: "http://unix:/run/a.sock:/a"'
    found = gather([early, *[SLOW] * 2, other, "what is this", "\ta traceback"])
    assert (
        as_text(found, 20)
        == """\
 3 up_head_timeout 10.0.1.11:8000  13:58:02 - 14:03:07
   GET /a,b 2, GET /report 1
   no bytes of its head for proxy_read_timeout (proxy_read_timeout 60: nginx.conf:31:9): its slow log; raise proxy_read_timeout \
where such requests are wanted
 1 up_refused unix:/run/a.sock  14:03:07
   GET /a,b 1
   the peer refused the connection: is it running, and on that port?
6 lines read, 1 not understood
the first of them: what is this
"""
    )
    first = json.loads(as_json(found, 1))
    assert len(first) == 1
    assert {key: first[0][key] for key in ("code", "who", "count", "where", "setting", "requests")} == {
        "code": "up_head_timeout",
        "who": "10.0.1.11:8000",
        "count": 3,
        "where": "nginx.conf:31:9",
        "setting": "proxy_read_timeout 60",
        "requests": {"GET /a,b": 2, "GET /report": 1},
    }
    assert as_text(found, 1).splitlines()[3] == "and 1 more: --top 2"


def test_a_rate_is_that_of_the_last_minute():
    found = gather([SLOW] * 90)
    assert "14:03:07, now 1.5/s\n" in as_text(found, 1)


def test_memory_is_bounded():
    many = MOST_GROUPS + 10
    lines = [SLOW.replace("10.0.1.11:8000", f"10.0.{number}:1").replace("/a,b", f"/{number}") for number in range(many)]
    found = gather(lines)
    assert len(found.groups) == MOST_GROUPS + 1
    assert found.groups["up_head_timeout", OTHER, "", ""].count == 10
    one = gather(SLOW.replace("/a,b", f"/{number}") for number in range(MOST_REQUESTS + 5))
    (group,) = one.groups.values()
    assert (len(group.requests), group.requests[OTHER]) == (MOST_REQUESTS + 1, 5)


def test_since():
    now = datetime(2026, 11, 30, 14, 5).timestamp()
    assert read_since("10m", now) == now - 600
    assert read_since("14:03:07", now) == now - 113
    assert read_since("2026-11-30T14:04", now) == now - 60
    with pytest.raises(ValueError, match="is no time"):
        read_since("soon", now)
    assert gather([SLOW], since=now).read == 0
    assert gather([SLOW], since=now - 120).read == 1


def ask(*paths: object, since: str = "", as_json: bool = False) -> int:
    return run_why(argparse.Namespace(log=[str(path) for path in paths], since=since, top=20, json=as_json), 0.0)


def test_files_compressed_or_not(tmp_path, capfdbinary):
    packed = tmp_path / "error.log.1.gz"
    packed.write_bytes(gzip.compress(NGINX.read_bytes()))
    assert ask(NGINX, packed) == 0
    assert b"\n  4 up_refused 127.0.0.1:18491  " in capfdbinary.readouterr().out
    assert ask(tmp_path / "none") == 1
    assert capfdbinary.readouterr().err.endswith(b'none": No such file or directory\n')
    packed.write_bytes(packed.read_bytes()[:40])
    assert ask(packed) == 1
    assert ask(NGINX, since="soon") == 1
