"""What generated configurations are asked: requests that touch their files, locations and variables, and replies of the backend."""

from __future__ import annotations

from differential import choices as st
from differential.backend import Reply
from differential.conversation import Conversation, Step
from differential.fronts import SERVERS

PATHS = (
    "/", "/a", "/a/", "/a/b.txt", "/a/index.html", "/file.txt", "/page.html", "/dir/", "/dir", "/dir/one.txt", "/missing", "/empty.txt",
    "/big.bin", "/koi.txt", "/script.js", "/data.json", "/up", "/up/x/y", "/UP/x", "/a//b.txt", "/a/../file.txt", "/a/./b.txt",
    "/dir/two%20words.html", "/%61/b.txt", "/link.txt", "/a/b.txt/", "/Abc9", "/%C3%A9", "/a%2Fb", "/a;x=1/b", "/store/new", "/file.txt%00",
    "/..", "/a+b", "//", "/x.php/info", "/a/b%3Fc",
)  # fmt: skip
QUERIES = ("", "", "", "?", "?a=1", "?a=", "?a=x&b=2", "?b=%20%26", "?a=/file.txt", "?q=word&a=hello+there", "?a=0")
METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "PURGE")
HOSTS = (
    "h",
    "h",
    "a.example",
    "b.example",
    "sub.test",
    "www.x.example",
    "h:8080",
    "H.Example.",
    "127.0.0.1:PORT0",
    "unknown.org",
)
FIELDS = (
    "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=0", "Accept-Encoding: deflate, gzip;q=0.5", "Range: bytes=0-3", "Range: bytes=-5",
    "Range: bytes=0-1,4-5", "Range: bytes=1000000-", "Range: nonsense", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "If-Modified-Since: Wed, 15 Nov 2023 22:13:20 GMT", "If-Unmodified-Since: Mon, 13 Nov 2023 22:13:20 GMT", 'If-None-Match: "x"',
    "If-None-Match: *", 'If-Match: "x"', 'If-Range: "x"', "Cookie: c=1; s=2", "Cookie: d=3", "User-Agent: Mozilla/5.0 (test)",
    "User-Agent: curl/8", "User-Agent: MSIE 6.0", "X-One: 1", "X-One: two", "X-Two: a b", "X-Two:", "Referer: http://example.com/r?x",
    "Via: 1.1 v", "Authorization: Basic dTpw", "X-Forwarded-For: 1.2.3.4", "X_Under: 1", "X.Dot: 1", "Expect: 100-continue",
    "Accept: text/html", "Content-Type: text/plain", "TE: trailers", "If-None-Match: W/\"6553f1a0-20\"", "Upgrade: x", "X-One: \xe9",
)  # fmt: skip
BODIES = (b"x", b"a=1&b=2", b"0123456789" * 3, b"y" * 5000, b"z" * 40000)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One request."""
    method = draw(st.sampled_from(METHODS))
    target = draw(st.sampled_from(PATHS)) + draw(st.sampled_from(QUERIES))
    version = draw(st.sampled_from(("1.1", "1.1", "1.1", "1.1", "1.0")))
    lines = [f"{method} {target} HTTP/{version}", f"Host: {draw(st.sampled_from(HOSTS))}"]
    lines += draw(st.lists(st.sampled_from(FIELDS), max_size=3, unique=True))
    connection = draw(st.sampled_from((None, None, None, "close", "keep-alive")))
    if connection:
        lines.append(f"Connection: {connection}")
    body = draw(st.sampled_from(BODIES)) if method in ("POST", "PUT", "PATCH") or draw(st.integers(0, 15)) == 9 else b""
    if body and version == "1.1" and draw(st.booleans()):
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    many = draw(st.lists(replies(), min_size=1, max_size=2))
    return Step((head + body,), tuple(many))


STATUSES = ("200 OK",) * 8 + (
    "404 Not Found", "500 Internal Server Error", "503 Service Unavailable", "302 Found", "201 Created", "304 Not Modified", "204 No Content",
    "401 Unauthorized", "403 Forbidden", "206 Partial Content", "502 Bad Gateway", "504 Gateway Timeout", "429 Too Many Requests", "299 Odd",
    "301 Moved Permanently", "200", "416 Requested Range Not Satisfiable",
)  # fmt: skip
REPLY_FIELDS = (
    "X-Up: 1", "x-up: two", "Set-Cookie: s=1; Path=/one/two; Domain=example.com; HttpOnly", "Set-Cookie: t=2", "Location: http://BACK0/up/x",
    "Location: /up/y", "Location: http://up.example/z?q", "Location: relative", "Refresh: 5; url=http://BACK0/up/", "ETag: \"u1\"",
    "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT", "Cache-Control: max-age=60", "Expires: Thu, 01 Jan 1970 00:00:01 GMT", "Vary: Accept",
    "Content-Encoding: gzip", "X-Accel-Redirect: /file.txt", "X-Accel-Redirect: /up?z=1", "X-Accel-Redirect: @named", "X-Accel-Expires: 10",
    "X-Accel-Charset: koi8-r", "X-Accel-Buffering: no", "X-Accel-Limit-Rate: 0", "Server: backend/1", "Date: Tue, 14 Nov 2023 22:13:20 GMT",
    "X-Pad: avoid", "Status: 418", "Link: </x>; rel=preload", "Accept-Ranges: bytes", "Content-Language: en", "Connection: close",
    "Keep-Alive: timeout=5", "WWW-Authenticate: Basic realm=x", "Content-Disposition: inline", "Cache-Control: no-cache", "X_Up: under",
    "Location: http://h/up/", "Content-Range: bytes 0-3/10", "Upgrade: h2c", "Trailer: X-End",
)  # fmt: skip
TYPES = (
    "text/plain",
    "text/html",
    "text/html; charset=utf-8",
    "application/json",
    "image/png",
    "text/html; charset=koi8-r",
    None,
)
REPLY_BODIES = (
    b"", b"ok", b"a word and a WORD\n", b"<html><head></head><b>word</b></html>\n" * 10, b"0123456789" * 1000, "\u00e9t\u00e9 \u0416".encode(),
    bytes(range(256)) * 300,
)  # fmt: skip


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """What the backend says; now and then nothing."""
    if draw(st.integers(0, 24)) == 9:
        return Reply(b"", closes=True)
    status = draw(st.sampled_from(STATUSES))
    lines = [f"HTTP/1.1 {status}"]
    media_type = draw(st.sampled_from(TYPES))
    if media_type:
        lines.append(f"Content-Type: {media_type}")
    lines += draw(st.lists(st.sampled_from(REPLY_FIELDS), max_size=3, unique=True))
    body = draw(st.sampled_from(REPLY_BODIES))
    closes = "Connection: close" in lines
    if status[:3] in ("204", "304"):
        body = b""
    else:
        framing = draw(st.sampled_from(("length", "length", "chunked", "close")))
        if framing == "length":
            lines.append(f"Content-Length: {len(body)}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            trailer = b"X-End: yes\r\n" if draw(st.booleans()) else b""
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n" + trailer + b"\r\n"
        else:
            closes = True
    return Reply(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body, closes)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A connection with a few requests."""
    return Conversation(draw(st.sampled_from(range(SERVERS))), tuple(draw(st.lists(steps(), min_size=1, max_size=3))))
