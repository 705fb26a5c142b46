"""Out and back: after one pass not a byte changes any more, and nginx accepts what comes back whenever it accepted what went in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import TREES, lookup

import wproxy.config.model  # noqa: F401  # registers the directives
from tests.example_copies import DEPLOYMENTS, LESSON, copy_deployment, copy_lesson
from wproxy.config.convert import NGINX, TOML, convert
from wproxy.config.document import Comments
from wproxy.config.load import convert_file, load_text
from wproxy.config.tree import Node
from wproxy.config.write_nginx import write_nginx

NGINX_PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
needs_nginx = pytest.mark.skipif(NGINX_PROGRAM is None, reason="nginx is not installed")


def out(text: bytes) -> bytes:
    return convert(text, NGINX, TOML, "f")


def back(text: bytes) -> bytes:
    return convert(text, TOML, NGINX, "f")


def check_stable(text: bytes) -> bytes:
    """Go out and back three times; returns what came back first."""
    first_out = out(text)
    first = back(first_out)
    second_out = out(first)
    assert back(second_out) == first
    assert out(back(second_out)) == second_out
    assert convert(first, NGINX, NGINX, "f") == first
    assert convert(second_out, TOML, TOML, "f") == second_out
    return first


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


# Comments


def test_a_comment_at_the_end_of_a_block_stays_there():
    text = """\
events {
    # end of events
}

http {
    upstream app {
        server 127.0.0.1:3000;
        # server 127.0.0.1:3001;
    }

    # the first
    server {
        listen 8080;

        location /a {
            return 204;
            # end of location
        }

        location /b {
            # nothing yet
        }
        # end of server
    }
    # end of http
    # two lines of it
}
# end of the file
"""
    assert check_stable(text.encode()).decode() == text
    toml = out(text.encode()).decode()
    assert "        # server 127.0.0.1:3001;\n\n# the first\n[[http.server]]\n" in toml
    assert toml.endswith(
        "            # end of location\n\n"
        '[http.server.location."/b"]\n            # nothing yet\n        # end of server\n'
        "    # end of http\n    # two lines of it\n# end of the file\n"
    )


def test_a_comment_at_the_end_of_what_can_only_be_a_list_stays_there():
    text = """\
stream {
    server {
        listen 9000;
        # end of server
    }
    # end of stream
}

events {}

http {
    server {
        # one
        set $a 1;

        if ($a) {
            set $b 2;
            # end of if
        }

        if ($b) {
            # nothing yet
        }
        set $c 3;
        # end of server
    }
}
"""
    assert check_stable(text.encode()).decode() == text


def test_a_comment_of_ones_own_in_toml_is_over_what_comes_next():
    """Only what is indented by the depth of a block, and has nothing right below it, is its end."""
    text = "[http]\n\n# Servers\n\n[[http.server]]\nlisten = 80\n  # odd\n\n    # over\n[[http.server]]\nlisten = 81\n# last\n"
    assert back(text.encode()).decode() == (
        "events {}\n\nhttp {\n    # Servers\n    server {\n        listen 80;\n    }\n\n    # odd\n    # over\n    server {\n"
        "        listen 81;\n    }\n}\n# last\n"
    )


def test_the_comments_of_included_files_stay_with_their_blocks(tmp_path):
    (tmp_path / "main.toml").write_text('[http]\ninclude = ["a.conf", "b.toml"]\n')
    (tmp_path / "a.conf").write_text("# over\nmap $a $b {\n    default 1;\n    # end of map\n}\n# end of a\n")
    (tmp_path / "b.toml").write_text("[[server]]\nlisten = 80\n    # end of server\n# end of b\n")
    head, _, text = convert_file(str(tmp_path / "main.toml"), NGINX).decode().partition("events {}\n\n")
    assert head.count("\n") == 3
    assert text == (
        "http {\n    # over\n    map $a $b {\n        default 1;\n        # end of map\n    }\n\n    server {\n        listen 80;\n"
        "        # end of server\n    }\n    # end of a\n    # end of b\n}\n"
    )


# Order


@pytest.mark.parametrize(
    "text",
    [
        "http { log_format a '$status';  log_format b '$uri'; access_log logs/a a; access_log logs/b b; }",
        'http { log_format a escape=json \'{"one":"$request_id",\' \'"two":"$status"}\'; log_format b \'$uri\'; access_log a b; }',
    ],
)
def test_a_format_is_there_before_the_log_that_needs_it(text):
    names = [line.split()[0] for line in lines_of(check_stable(text.encode()).decode())]
    assert names.index("access_log") > max(index for index, name in enumerate(names) if name == "log_format")


def test_proxy_pass_is_there_before_what_takes_its_default():
    text = "http { server { location /a/ { proxy_redirect a b; proxy_pass http://127.0.0.1; proxy_redirect default; } } }"
    names = [line.split()[0] for line in lines_of(check_stable(text.encode()).decode())]
    assert names.index("proxy_pass") < names.index("proxy_redirect")


def test_a_backup_is_there_before_the_method_that_knows_none():
    text = "http { upstream u { server 127.0.0.1:1; server 127.0.0.1:2 backup; ip_hash; } }"
    names = [line.split()[0].strip(";") for line in lines_of(check_stable(text.encode()).decode())]
    assert names.index("ip_hash") > names.index("server")


# Every example


def accepts(text: bytes, directory: Path) -> tuple[bool, str]:
    """Whether nginx accepts a configuration, and what it said."""
    assert NGINX_PROGRAM is not None
    file = directory / "tried.conf"
    file.write_bytes(text)
    command = [NGINX_PROGRAM, "-t", "-p", f"{directory}/", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0, done.stderr


def check_example(main: Path) -> None:
    text = convert_file(str(main), NGINX)
    first = check_stable(text)
    assert back(convert_file(str(main), TOML)) == first
    if NGINX_PROGRAM is None:
        return
    was_accepted, _ = accepts(main.read_bytes(), main.parent)
    is_accepted, said = accepts(first, main.parent)
    assert is_accepted or not was_accepted, said


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_is_stable_and_accepted(name, tmp_path):
    check_example(copy_deployment(name, tmp_path))


@pytest.mark.parametrize("name", LESSON)
def test_a_configuration_of_the_lesson_is_stable_and_accepted(name, tmp_path):
    places = {"listen": "127.0.0.1:8080", **{f"app{n}": f"127.0.0.1:300{n}" for n in range(1, 5)}, "root": str(tmp_path)}
    check_example(copy_lesson(name, tmp_path / name, **places))


def test_the_shipped_file_is_stable_too():
    text = (Path(__file__).parents[3] / "wproxy.toml").read_bytes()
    first = out(back(text))
    assert out(back(first)) == first
    comments = [line.strip() for line in text.decode().splitlines() if line.lstrip().startswith("#")]
    kept = first.decode()
    assert [line for line in comments if line not in kept] == []


def test_a_table_that_stands_behind_what_needs_it_does_not_keep_a_server_from_starting(tmp_path):
    """`access_log` is a value and `log_format` a table: in TOML they can stand in one order only."""
    formats = '[http.log_format]\nlong = "$remote_addr [$time_local] $request $status"\nshort = "$status $uri"\n'
    text = f'[http]\naccess_log = [["a.log", "long"], ["b.log", "short"]]\n\n{formats}\n[[http.server]]\nlisten = 8080\n'
    configuration = load_text(text.encode(), "wproxy.toml", f"{tmp_path}/", lambda host, port: [])
    assert [log.format for log in configuration.servers[0].access_log] == ["long", "short"]


# Generated files

_COMMENT_LINES = st.lists(
    st.sampled_from(["", " a", " b # c", "[x]", " = 1", "  indented", '"', "{", "\ttab", " \u00e9"]), max_size=2
)


def _nodes_in(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children or ():
        yield from _nodes_in(child)


@st.composite
def _commented(draw: st.DrawFn) -> bytes:
    """The text of a tree, with comments anywhere."""
    root = draw(TREES)
    comments = Comments()
    for node in _nodes_in(root):
        if node is not root and (lines := draw(_COMMENT_LINES)):
            comments.above[id(node)] = lines
        if node.children is not None and (lines := draw(_COMMENT_LINES)):
            comments.end[id(node)] = lines
    return write_nginx(root, comments).encode()


@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_commented())
def test_any_file_is_stable_after_one_pass(text):
    toml = convert(text, NGINX, TOML, "f", lookup=lookup)
    first = convert(toml, TOML, NGINX, "f", lookup=lookup)
    toml = convert(first, NGINX, TOML, "f", lookup=lookup)
    assert convert(toml, TOML, NGINX, "f", lookup=lookup) == first
    assert convert(convert(toml, TOML, NGINX, "f", lookup=lookup), NGINX, TOML, "f", lookup=lookup) == toml


# What nginx accepts in one order and perhaps not in another, and what stands beside it; by the block it may stand in. `{...}` is
# filled with what may stand in the block of that name.
_PIECES = {
    "main": ["worker_processes 2;", "error_log e.log;", "env A;", "thread_pool p threads=2;", "user root;"],
    "http": [
        'log_format long \'$remote_addr [$time_local] "$request" $status $body_bytes_sent "$http_referer" $request_time $host\';',
        "log_format short '$status';",
        "access_log a.log long;",
        "access_log b.log short buffer=4k flush=1s;",
        "access_log c.log short;",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;",
        "limit_req zone=z;",
        "map $host $m { hostnames; default 0; *.example.com 1; example.com 2; }",
        "geo $g { ranges; default a; 10.0.0.0-10.0.0.9 b; }",
        "geo $v { default a; 10.0.0.0/8 b; delete 10.0.0.0/8; }",
        "split_clients $remote_addr $s { 5% a; * b; }",
        "proxy_cache_path cache keys_zone=c:1m;",
        "proxy_cache c;",
        "types { text/html html; text/css css; }",
        "upstream u {upstream}",
        "server {server}",
        "gzip_types text/css text/xml;",
        "resolver 127.0.0.1;",
    ],
    "upstream": [
        "server 127.0.0.1:3001;",
        "server 127.0.0.1:3002 backup;",
        "ip_hash;",
        "least_conn;",
        "keepalive 4;",
        "hash $uri;",
    ],
    "server": [
        "listen 127.0.0.1:8080;",
        "server_name a b;",
        "root html;",
        "access_log d.log short;",
        "set $a 1;",
        "if ($a) { set $b '2 3'; }",
        "rewrite ^/x(.*)$ /y$1;",
        "rewrite '^/[a-z]{2}$' /z last;",
        "return 204;",
        "location / {location}",
        "location ~ '^/a{2,}' {location}",
        "location = /e {location}",
        "error_page 404 /404.html;",
        "add_header A 'b c';",
        "add_header B $g;",
        "allow 127.0.0.1;",
        "deny all;",
        "allow all;",
    ],
    "location": [
        "proxy_pass http://127.0.0.1:3000;",
        "proxy_redirect default;",
        "proxy_redirect http://a/ /b/;",
        "proxy_redirect ~^http://c/(.*)$ /d/$1;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-A '';",
        "if ($request_method = POST) { return 405; }",
        "set $c $m;",
        "limit_except GET { deny all; }",
        "location /in { root html; }",
        "try_files $uri =404;",
        "expires 1d;",
    ],
}


@st.composite
def _inside(draw: st.DrawFn, block: str) -> str:
    """What is in a block: some of its pieces in any order, with comments between them."""
    lines = []
    for piece in draw(st.lists(st.sampled_from(_PIECES[block]), max_size=7, unique=True)):
        for inner in ("upstream", "server", "location"):
            if f"{{{inner}}}" in piece:
                piece = piece.replace(f"{{{inner}}}", f"{{\n{draw(_inside(inner))}\n}}")
        lines += [f"# {draw(st.sampled_from('abc'))}"] * draw(st.booleans()) + [piece]
    return "\n".join([*lines, *(["# end"] * draw(st.booleans()))])


@needs_nginx
@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_nginx_accepts_it_accepts_when_it_comes_back(data, tmp_path):
    """One file in three or so is accepted; the others only have to be stable."""
    text = f"pid x.pid;\n{data.draw(_inside('main'))}\nevents {{}}\nhttp {{\n{data.draw(_inside('http'))}\n}}\n".encode()
    first = check_stable(text)
    if accepts(text, tmp_path)[0]:
        is_accepted, said = accepts(first, tmp_path)
        assert is_accepted, said


@needs_nginx
def test_the_pieces_are_such_as_nginx_accepts(tmp_path):
    """Else the test above would compare nothing."""
    server = "listen 127.0.0.1:8080; location / { proxy_pass http://127.0.0.1:3000; proxy_redirect default; }"
    text = " ".join(piece for piece in _PIECES["http"] if "{upstream}" not in piece and "{server}" not in piece)
    text = f"pid x.pid; {' '.join(_PIECES['main'])} events {{}} http {{ {text} server {{ {server} }} }}"
    was_accepted, said = accepts(text.encode(), tmp_path)
    assert was_accepted, said
