"""FastCGI, uwsgi, SCGI and memcached: the real nginx and a worker send the same parameters, and make the same of each answer.

The servers are scripted (cgi_peers.py). An echo puts all parameters that it got into its body, so they are compared too.
"""

from __future__ import annotations

import socket

import pytest
from cgi_peers import END, FastcgiServer, MemcachedServer, ScgiServer, UwsgiServer, err, out, record
from like_nginx import ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]
pytestmark = needs_nginx

HEAD = b"Content-Type: text/plain\r\n"

# CGI responses; FastCGI has them in one record, the others as they are.
RESPONSES = {
    "plain": HEAD + b"\r\nhello",
    "status": b"Status: 404 Not Here\r\n" + HEAD + b"\r\nhello",
    "location": b"Location: /elsewhere\r\n" + HEAD + b"\r\nhello",
    "locationhost": b"Location: http://h/elsewhere\r\n\r\n",
    "both": b"Status: 301 Moved\r\nLocation: https://other/\r\n\r\nbye",
    "created": b"Status: 201 Made\r\nLocation: /made\r\n\r\n",
    "nothing": b"\r\nonly a body",
    "bare": b"Content-Type: text/html\nX-A: b\n\nbare line ends",
    "cookies": HEAD + b"Set-Cookie: a=1\r\nSet-Cookie: b=2; path=/\r\nX-Powered-By: PHP\r\n\r\nhello",
    "fields": HEAD + b"X-Pad: x\r\nX-Accel-Expires: 0\r\nKeep-Alive: timeout=5\r\n\r\nhello",
    "exact": HEAD + b"Content-Length: 5\r\n\r\nhello",
    "more": HEAD + b"Content-Length: 3\r\n\r\nhello",
    "empty": HEAD + b"Content-Length: 0\r\n\r\n",
    "none": b"Status: 204 No Content\r\n\r\n",
    "unchanged": b'Status: 304 Not Modified\r\nETag: "x"\r\n\r\n',
    "nocolon": b"Content-Type text/plain\r\n\r\nhello",
    "big": HEAD + b"X-Big: " + b"b" * 5000 + b"\r\n\r\nhello",
    "sent": b"X-Accel-Redirect: /there\r\n" + HEAD + b"\r\nhello",
    "unbuffered": b"X-Accel-Buffering: no\r\n" + HEAD + b"\r\nhello",
    "ranges": HEAD + b'Content-Length: 5\r\nAccept-Ranges: bytes\r\nETag: "e"\r\n\r\nhello',
}
RECORDS = {
    "split": b"".join(out(bytes((byte,))) for byte in b"Status: 202 Yes\r\n" + HEAD + b"\r\nhello") + END,
    "padded": out(HEAD, 5) + out(b"\r\n", 255) + out(b"hel", 1) + out(b"lo", 7) + record(3, bytes(8), padding=3),
    "closed": out(HEAD + b"\r\nhello") + out(b"") + END,
    "noend": out(HEAD + b"\r\nhello"),
    "errorfirst": err(b"PHP message: something is wrong. \r\n") + out(HEAD + b"\r\nhello") + END,
    "errorwithin": out(HEAD) + err(b"oh") + out(b"\r\nhello") + END,
    "errorlines": err(b"one\ntwo\n") + err(b"...") + out(HEAD + b"\r\nhello") + END,
    "errorfatal": err(b"PHP Fatal error: it is over") + out(b"Status: 500 Oh\r\n\r\nhello") + END,
    "onlyerror": err(b"Primary script unknown\n") + END,
    "onlyend": END,
    "onlyclosed": out(b"") + END,
    "halfhead": out(b"Content-Type: text/pl") + END,
    "nosuch": record(9, b"x") + END,
    "version": record(6, b"\r\nhello", version=2) + END,
    "high": record(6, b"\r\nhello", number=257) + END,
    "low": record(6, b"\r\nhello", number=2) + END,
    "nothingatall": b"",
}
STATUS_LINES = {
    "http": b"HTTP/1.1 418 Teapot\r\nX-A: b\r\n\r\nhello",
    "http10": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}

SITE = """
server {{ listen 127.0.0.1:PORT; server_name h; root DIR;
    location /there {{ return 200 "there\\n"; }}
    location /cut/ {{ {module}_pass unix:DIR/peer.sock; }}
    location / {{ {module}_pass unix:DIR/peer.sock; {module}_param ANSWER $arg_answer; {module}_param CONTENT_LENGTH $content_length;
        {settings} }}
    {locations}
}}
"""
SERVERS = {"fastcgi": FastcgiServer, "uwsgi": UwsgiServer, "scgi": ScgiServer}
MODULES = pytest.mark.parametrize("module", SERVERS)


@pytest.fixture
def compare(same_as_nginx):
    """Compares, with a scripted server behind both."""
    servers = []

    def compare(module, settings, cases, scripts={}, locations="", level="warn"):
        def prepare(directory):
            directory.chmod(0o755)
            servers.append(SERVERS[module](directory / "peer.sock", scripts))

        text = SITE.format(module=module, settings=settings.replace("MODULE", module), locations=locations)
        same_as_nginx(text, cases, level, prepare)
        return servers[-1]

    yield compare
    for server in servers:
        server.close()


PARAMETERS = """
    MODULE_param QUERY_STRING $query_string; MODULE_param REQUEST_METHOD $request_method; MODULE_param CONTENT_TYPE $content_type;
    MODULE_param REQUEST_URI $request_uri; MODULE_param DOCUMENT_URI $document_uri; MODULE_param DOCUMENT_ROOT $document_root;
    MODULE_param SCRIPT_NAME $fastcgi_script_name; MODULE_param PATH_INFO $fastcgi_path_info; MODULE_param SERVER_PROTOCOL $server_protocol;
    MODULE_param REQUEST_SCHEME $scheme; MODULE_param HTTPS $https if_not_empty; MODULE_param REMOTE_ADDR $remote_addr;
    MODULE_param SERVER_NAME $server_name; MODULE_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    MODULE_param HTTP_X_SET set; MODULE_param HTTP_X_EMPTY ""; MODULE_param HTTP_X_OPTIONAL $arg_none if_not_empty;
    MODULE_param EMPTY $arg_none; MODULE_param OPTIONAL $arg_none if_not_empty; MODULE_param LONG $arg_long;
"""
FIELDS = (
    "X-Set: mine", "X-Empty: mine", "X-Optional: mine", "Cookie: a=1", "X-Repeated: 1", "X-Repeated: 2", "Cookie: b=2",
    "Accept-Language: de", "Content-Type: text/x", "X_Under: dropped",
)  # fmt: skip


@MODULES
def test_the_same_parameters_are_sent(module, compare):
    cases = [
        ask("/"),
        ask("/a%20b/c?x=1&y=%20", *FIELDS),
        ask("/p", *FIELDS, method="POST", body="hello=world"),
        ask(f"/long?long={'l' * 200}", f"X-Long: {'v' * 300}", f"X-{'n' * 150}: v"),
        ask("/head", method="HEAD"),
        ask("/?", method="PUT", body="x"),
        ask("/a//b/../c"),
    ]
    compare(module, PARAMETERS, cases)


@pytest.mark.parametrize("index", ["", "MODULE_index index.php;"])
def test_script_name_and_path_info(index, compare):
    splits = f"{index} MODULE_split_path_info ^(.+?\\.php)(/.*)$; {PARAMETERS}"
    targets = ["/", "/a/", "/x.php", "/x.php/info/more?q", "/x.php/", "/a.php/b.php/c", "/none"]
    compare("fastcgi", splits, [ask(target) for target in targets])


def test_a_socket_that_is_missing_is_worse_than_one_that_refuses(same_as_nginx):
    def prepare(directory):
        directory.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as refusing:
            refusing.bind(str(directory / "refusing.sock"))
        (directory / "refusing.sock").chmod(0o777)

    locations = "".join(f"location /{name} {{ fastcgi_pass unix:DIR/{name}.sock; }}" for name in ("missing", "refusing"))
    same_as_nginx(f"server {{ listen 127.0.0.1:PORT; {locations} }}", ["/missing", "/refusing"], "error", prepare)


@MODULES
def test_what_is_not_passed_on_is_not(module, compare):
    cases = [ask("/", *FIELDS), ask("/p", *FIELDS, method="POST", body="hello")]
    compare(module, f"{PARAMETERS} MODULE_pass_request_headers off;", cases)


@MODULES
def test_responses_are_passed_on_in_the_same_way(module, compare):
    frame = SERVERS[module].framed
    scripts = {name: frame(None, response) for name, response in RESPONSES.items()}
    cases = [ask(f"/?answer={name}") for name in RESPONSES]
    cases += [ask(f"/?answer={name}", method="HEAD") for name in ("plain", "exact", "empty", "none", "location")]
    cases += [ask("/?answer=ranges", "Range: bytes=1-2"), ask("/?answer=exact", "Range: bytes=1-2")]
    compare(module, "", cases, scripts)


def test_records_are_read_in_the_same_way(compare):
    compare("fastcgi", "", [ask(f"/?answer={name}") for name in RECORDS], RECORDS)


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
def test_a_status_line_may_begin_an_answer(module, compare):
    compare(module, "", [ask(f"/?answer={name}") for name in STATUS_LINES], STATUS_LINES)


@MODULES
@pytest.mark.parametrize(
    "settings",
    [
        "MODULE_intercept_errors on; error_page 404 /there;",
        "MODULE_hide_header X-Powered-By; MODULE_pass_header Status; MODULE_pass_header X-Pad;",
        "MODULE_ignore_headers X-Accel-Redirect Set-Cookie;",
        "MODULE_buffer_size 1k;",
        "MODULE_buffering off;",
        "MODULE_force_ranges on;",
    ],
)
def test_settings_have_the_same_effect(settings, module, compare):
    frame = SERVERS[module].framed
    names = ("plain", "status", "cookies", "fields", "sent", "exact", "big")
    scripts = {name: frame(None, RESPONSES[name]) for name in names}
    compare(module, settings, [ask(f"/?answer={name}", "Range: bytes=1-2") for name in names], scripts)


MEMCACHED = """
server { listen 127.0.0.1:PORT; server_name h; root DIR;
    types { text/css css; } default_type text/x;
    location /unset/ { set $memcached_key ""; memcached_pass unix:DIR/peer.sock; }
    location /pages/ { set $memcached_key $arg_key; memcached_pass unix:DIR/peer.sock; error_page 404 502 = /there; }
    location /there { return 200 "there\\n"; }
    location / { set $memcached_key $arg_key; memcached_pass unix:DIR/peer.sock; memcached_gzip_flag 2; }
    location /uri/ { set $memcached_key $uri; memcached_pass unix:DIR/peer.sock; }
}
"""
VALUES = {
    "a": b"VALUE a 0 5\r\nhello\r\nEND\r\n",
    "empty": b"VALUE empty 0 0\r\n\r\nEND\r\n",
    "zipped": b"VALUE zipped 3 5\r\nhello\r\nEND\r\n",
    "other": b"VALUE a 0 5\r\nhello\r\nEND\r\n",
    "error": b"SERVER_ERROR out of memory\r\n",
    "bare": b"VALUE bare 0 5\nhello\r\nEND\r\n",
    "cas": b"VALUE cas 0 5 17\r\nhello\r\nEND\r\n",
    "flags": b"VALUE flags x 5\r\nhello\r\nEND\r\n",
    "length": b"VALUE length 0 x\r\nhello\r\nEND\r\n",
    "nolength": b"VALUE nolength 0\r\nhello\r\nEND\r\n",
    "trailer": b"VALUE trailer 0 5\r\nhello\r\nEnd\r\n",
    "nothing": b"",
    "/uri/a%20b%25": b"VALUE /uri/a%20b%25 0 2\r\nhi\r\nEND\r\n",
}


def test_values_of_memcached(same_as_nginx):
    servers = []

    def prepare(directory):
        directory.chmod(0o755)
        servers.append(MemcachedServer(directory / "peer.sock", VALUES))

    cases = [ask(f"/?key={name}") for name in VALUES if not name.startswith("/")]
    cases += [ask("/x.css?key=a"), ask("/x.css?key=a", method="HEAD"), ask("/?key=a", method="POST", body="x"), ask("/?key=none")]
    cases += [ask("/?key=a", "Range: bytes=1-2"), ask("/?key=a", "Range: bytes=7-"), ask("/unset/"), ask("/uri/a%20b%25")]
    cases += [ask(f"/pages/?key={name}") for name in ("a", "none", "error", "nothing")]
    try:
        same_as_nginx(MEMCACHED, cases, "notice", prepare)
    finally:
        servers[0].close()
