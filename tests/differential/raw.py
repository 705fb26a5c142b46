"""Bytes that are nearly requests: odd heads, bodies that do not fit their framing, pipelines, and ends in the middle.

The configuration is always the same. Behind each request the client's side of the connection is closed, so that a server which waits
for more has to decide; `proxy_ignore_client_abort` keeps that from being what is compared.
"""

from __future__ import annotations

from differential import choices as st
from differential.conversation import Conversation, Step

CONFIGURATION = """\
daemon off; master_process off; pid DIR/server.pid;
events {}
http {
    lingering_timeout 100ms; root DIR/www; proxy_ignore_client_abort on;
    client_body_temp_path DIR/tmp1; proxy_temp_path DIR/tmp2; fastcgi_temp_path DIR/tmp3; uwsgi_temp_path DIR/tmp4;
    scgi_temp_path DIR/tmp5;
    log_format main "$request_method $uri $status $body_bytes_sent $server_name";
    access_log DIR/access.log main;
    upstream up { server BACK0; }
    server {
        listen 127.0.0.1:PORT0; server_name h;
        location / { proxy_pass http://up; }
        location /unbuffered/ { proxy_request_buffering off; proxy_pass http://up; }
        location /old/ { proxy_http_version 1.0; proxy_pass http://up; }
        location /file.txt { }
        location /say { return 200 "$request_method $request_uri $args $http_x_one $http_host $remote_user\\n"; }
        location /small/ { client_max_body_size 4; proxy_pass http://up; }
        location /error/ { error_page 404 413 400 /say; }
        location /uri/ { proxy_pass http://up/other/; }
    }
    server { listen 127.0.0.1:PORT0; server_name other; location / { return 200 "other $request_uri\\n"; } }
    server {
        listen 127.0.0.1:PORT1; server_name h; underscores_in_headers on; merge_slashes off;
        large_client_header_buffers 2 1k; client_header_buffer_size 512;
        location / { proxy_pass http://up; }
        location /say { return 200 "$request_method $request_uri $uri $http_x_one $http_x_under $server_protocol\\n"; }
    }
    server {
        listen 127.0.0.1:PORT2; server_name h; keepalive_requests 2; client_max_body_size 10; client_body_buffer_size 4;
        location / { proxy_pass http://up; }
        location /say { return 200 "$request_method $request_uri\\n"; }
        location /file.txt { }
    }
}
"""

METHODS = ("GET",) * 6 + ("POST", "POST", "PUT", "HEAD", "get", "G", "OPTIONS", "TRACE", "CONNECT", "M-SEARCH", "GET_", "A" * 40, "", "GE T",
                          "G\tT", "PRI", "DELETE", "GET\x00", "\xc3\xa9")  # fmt: skip
TARGETS = (
    "/", "/say", "/say?x=1", "/file.txt", "/small/x", "/error/nope", "/unbuffered/x", "/old/x", "/uri/a%20b", "/say/../file.txt", "/../x",
    "http://h/say", "http://other/say", "HTTP://H/say", "http://h", "http://h?x", "http://h:80/say", "http:///say", "http://u@h/say",
    "https://h/say", "*", "say", "//say", "/say//x", "/say%00", "/say%", "/say%4", "/say%zz", "/s%61y", "/say?%00", "/say?a b",
     "/say\x01", "/say\x7f", "/say\xff", "/say\\x", "/say;x", "/say?<>\"", "h:80", "", "/" + "a" * 600, "/" + "a" * 1100,
    "/say?" + "q" * 900, "/uri/%2e%2e/x", "/uri//x", "/uri/./x", "/uri/%2F", "/uri/\xe9", "http://[::1]/say", "http://h/\x01",
    "http://h:x/say", "ftp://h/say", "/say?", "/say??x",  "/say\tx", "/%2e%2e/x", "/a/b/../../../x",
)  # fmt: skip
VERSIONS = ("HTTP/1.1",) * 10 + ("HTTP/1.0", "HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/1", "http/1.1", "HTTP/1.1 ", "HTTP/01.1",
                                 "HTTP/1.01", "HTTP/11", "HTTP/1.1x", "", "HTTP/1.10", "HTTPS/1.1", "HTTP /1.1", "HTTP/3.0")  # fmt: skip
HOSTS = ("Host: h",) * 9 + (
    "Host: other", "Host:h", "Host:  h  ", "host: h", "HOST: h", "Host: h:80", "Host: h:", "Host: h:x", "Host: ", "Host: a b", "Host: h/x",
    "Host: h\x01", "Host: [::1]", "Host: [::1", "Host: .h", "Host: h..", "Host: h.", "Host: -", "Host: h, other", "Host : h", " Host: h",
    "Host: \xe9", "Host: h?x", "Host: h@x", "Host: h:080", "Host: h:99999", "Host: h\t", "X: y", "Host: h\r\nHost: h", "Host: h\r\nHost: other",
    "Host: h%41", "Host: H", "Host: h:80:80", "Host: h..x", "Host: ..", "Host: .", "Host: h\\x", "Host: http://h/",
)  # fmt: skip
FIELDS = (
    "X-One: 1", "X-One: ", "X-One:", "X-One", ": x", "X One: 1", "X-One : 1", " X-One: 1", "\tX-One: 1", "X-One: 1\r\n folded", "X-One: \x00",
    "X-One: a\x01b", "X-One: \x7f", "X-One: \xe9", "X_Under: 1", "X.Dot: 1", "X@At: 1", "X\x00: 1", "\x00: 1", "X-One: 1\nX-Two: 2", "X-One: 1\rX: 2",
    "Connection: close", "Connection: keep-alive", "Connection: close, x-one", "Connection: Keep-Alive, close", "Connection: upgrade", "connection:CLOSE",
    "Connection: X-One", "Connection: te, close", "Connection: keepalive", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive",
    "Expect: 100-continue", "Expect: nonsense", "Expect: 100-Continue", "Upgrade: websocket", "TE: trailers", "Trailer: X-End", "X-One: " + "v" * 700,
    "X-One: " + "v" * 1200, "x" * 600 + ": 1", "Cookie: a=b; c", "Cookie: a=1\r\nCookie: b=2", "Authorization: Basic dTpw", "Authorization: x",
    "If-Modified-Since: x", "Range: bytes=0-0", "Content-Type: a\r\nContent-Type: b", "User-Agent: a\r\nUser-Agent: b", "X-One: 1\r\nX-One: 2",
    "Proxy: x", "HTTP2-Settings: x", "Via: 1.1 x", "Accept-Encoding: gzip", "Content-Length: 0", "Referer: a\r\nReferer: b", "Date: x",
    "If-None-Match: *", "Authorization: a\r\nAuthorization: b", "Range: bytes=0-0\r\nRange: bytes=1-1",
)  # fmt: skip
FRAMINGS = (
    "Content-Length: %d", "Content-Length: %d", "Content-Length: %d", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
    "Content-Length: %d\r\nContent-Length: %d", "Content-Length: %d\r\nContent-Length: 3", "Content-Length: %d, %d", "Content-Length: +%d", "Content-Length: -1",
    "Content-Length: 0x5", "Content-Length: %d ", "Content-Length:%d", "Content-Length: ", "Content-Length: 99999999999999999999", "Content-Length: %d\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: %d", "Transfer-Encoding: Chunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity", "Transfer-Encoding: gzip", "Transfer-Encoding: ", "Transfer-Encoding: chunked ", "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1", "Transfer_Encoding: chunked", "Content_Length: %d", "Content-Length: 1 2", "Content-Length: %d\x0b", "Content-Length: 00%d",
    "Transfer-Encoding\x00: chunked", "Content-Length: 1e1", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: \x0bchunked",
)  # fmt: skip
CHUNKED = (
    "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;ext=1\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n", "005\r\nhello\r\n000\r\n\r\n",
    "5\nhello\n0\n\n", "5 \r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "5\r\nhell", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", "5", "", "x\r\n",
    "-1\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5_\r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\n", "7fffffffffffffff\r\nhello", "5\r\nhello0\r\n\r\n", "0\r\n\r\n", "0\r\nX\r\n\r\n",
    "0\r\n: x\r\n\r\n", "0\r\n folded\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n", "5;\r\nhello\r\n0\r\n\r\n", "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", "5\t\r\nhello\r\n0\r\n\r\n",
    "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "5\r\nhello\r\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "\r\n5\r\nhello\r\n0\r\n\r\n", "5;a\x00\r\nhello\r\n0\r\n\r\n", "14\r\n" + "x" * 20 + "\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n", "0;x\r\n\r\n", "5 ;x\r\nhello\r\n0\r\n\r\n",
)  # fmt: skip
ENDINGS = ("\r\n",) * 12 + ("\n", "\r", "\r\r\n", "\n\r")
BEFORE = ("",) * 12 + ("\r\n", "\n", "\r\n\r\n", " ", "\r", "\x00", "\t")


@st.composite
def heads_and_bodies(draw: st.DrawFn) -> str:
    """One request, more or less."""
    ending = draw(st.sampled_from(ENDINGS)) if draw(st.integers(0, 3)) == 2 else "\r\n"
    odd = draw(st.integers(0, 4))  # what is odd about it; more than one oddity says little
    method = draw(st.sampled_from(METHODS)) if odd == 0 else draw(st.sampled_from(("GET", "GET", "POST", "HEAD", "PUT")))
    target = draw(st.sampled_from(TARGETS)) if odd in (1, 4) else draw(st.sampled_from(TARGETS[:10]))
    version = draw(st.sampled_from(VERSIONS)) if odd == 0 else "HTTP/1.1"
    host = draw(st.sampled_from(HOSTS)) if odd == 1 else "Host: h"
    line = f"{method} {target} {version}" if version else f"{method} {target}"
    lines = [line, host, *draw(st.lists(st.sampled_from(FIELDS), max_size=2 if odd == 2 else 1))]
    body = ""
    if method in ("POST", "PUT") or odd == 3:
        framing = draw(st.sampled_from(FRAMINGS)) if odd == 3 else draw(st.sampled_from(FRAMINGS[:5]))
        lines.insert(draw(st.integers(1, len(lines))), framing.replace("%d", "5"))
        body = "hello"
        if "hunked" in framing and draw(st.integers(0, 9)):
            body = draw(st.sampled_from(CHUNKED))
        elif draw(st.integers(0, 5)) == 3:
            body = draw(st.sampled_from(("hell", "hello!", "", "helloGET /say HTTP/1.1\r\nHost: h\r\n\r\n")))
    return draw(st.sampled_from(BEFORE)) + ending.join(lines) + ending * 2 + body


@st.composite
def raw_conversations(draw: st.DrawFn) -> Conversation:
    """One to three of them at once, cut off now and then, in one segment or several."""
    data = "".join(draw(st.lists(heads_and_bodies(), min_size=1, max_size=3))).encode("latin-1")
    if draw(st.integers(0, 9)) == 3:
        data = data[: draw(st.integers(0, len(data)))]
    pieces = [data]
    if draw(st.integers(0, 3)) == 3 and len(data) > 2:
        middle = draw(st.integers(1, len(data) - 1))
        pieces = [data[:middle], data[middle:]]
    return Conversation(draw(st.sampled_from((0, 0, 1, 2))), (Step(tuple(pieces)),), is_raw=True)
