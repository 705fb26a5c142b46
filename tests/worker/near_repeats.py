"""Sequences of near-repeats: what a worker remembers of one request must not show in the next.

A `Theatre` is a worker that has never served anybody. Each performance is a child forked from it: one serves a whole sequence over
one connection, and for every request of it another serves that request alone. The back-ends answer a request the same in both,
and their answers vary from one request to the next in the manner of the requests. What the back-ends receive and what the client
gets must be the same; and when the sequence is over nothing may be left of it but memory, and of that little.

All that is bound to differ is taken out before the comparison: dates, and identifiers of requests, which must be different ones.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conversation import End, Stage
from like_nginx import _load_nginx_syntax

from worker import pipes

PATIENCE = 2.0  # seconds of real time for an answer
MOST_GROWTH = 8 << 20  # bytes of memory that one sequence may leave behind: tables fill

CONFIGURATION = r"""
map $proxy_host $host_map { default "m-$proxy_host"; }
map $http_x_a $a_map { default none; ~^(.)(.*)$ "$2$1"; }
map $cookie_session $session_map { default "s-$cookie_session"; "" anonymous; }
map $arg_m $method_map { default ""; head HEAD; post POST; }
map $arg_up $up_map { default one; 2 two; 3 two; }
map $sent_http_x_one $one_map { default "one-$sent_http_x_one"; }
map $request_uri $loose { volatile; default $uri; }
upstream one { server ONE; keepalive 4; }
upstream two { server TWO; keepalive 4 local; }
log_format identity "$request_id";
underscores_in_headers on;
server {
    listen 127.0.0.1:8080; server_name a.test;
    root FILES; absolute_redirect off;
    add_header X-Host "$host $proxy_host $host_map" always;
    proxy_set_header X-Id $request_id;
    location / { proxy_pass http://one; }
    location /set { proxy_pass http://one; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-A "$http_x_a $a_map $session_map"; proxy_set_header Cookie ""; add_header X-A "$http_x_a $session_map"; }
    location /reads { proxy_pass http://one; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Cookie "$http_cookie at $scheme"; }
    location /block { proxy_pass http://one/base/; proxy_set_header X-A $http_x_a; proxy_set_header X-P "$proxy_host:$proxy_port";
        add_header X-B $a_map; add_header X-C "$host_map"; }
    location /block/two { proxy_pass http://two; proxy_set_header X-A $http_x_a; proxy_set_header X-P "$proxy_host:$proxy_port";
        add_header X-C "$host_map"; proxy_buffer_size 1k; proxy_buffers 8 1k; }
    location /block/small { proxy_pass http://one; proxy_buffer_size 1k; proxy_buffers 8 1k; }
    location /request { proxy_pass http://one; proxy_set_header X-U "$uri $args $request_method $server_protocol $content_length";
        add_header X-One "$uri$is_args$args"; add_header X-Two $one_map; add_header X-Three "$upstream_status $upstream_http_x_a"; }
    location /named { set $up $up_map; proxy_pass http://$up/tgt$uri?id=$request_id;
        proxy_intercept_errors on; error_page 404 410 = @n; error_page 500 = /err/page; }
    location /jump { proxy_pass http://one; proxy_set_header X-P "$host_map"; proxy_intercept_errors on; error_page 404 410 503 = @n; }
    location /jump/two { proxy_pass http://two; proxy_set_header X-P "$host_map"; proxy_intercept_errors on; error_page 404 410 503 = @n; }
    location /bound { proxy_pass http://one; proxy_bind 127.0.0.$arg_from; }
    location @n { proxy_pass http://two; proxy_set_header X-P $proxy_host; add_header X-N "$a_map $host_map"; }
    location /err { proxy_pass http://two; }
    location /pages { proxy_pass http://one; proxy_intercept_errors on; error_page 404 /page.txt; error_page 503 =200 /page.txt; }
    location /gzip { proxy_pass http://one; gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_vary on; }
    location /sub { proxy_pass http://one; sub_filter body "$http_x_a"; sub_filter_types *; sub_filter_once off; }
    location /charset { proxy_pass http://one; charset utf-8; override_charset on; expires modified 1h; }
    location /cookies { proxy_pass http://one; proxy_cookie_path / /x$arg_p/; proxy_cookie_domain one $host; proxy_redirect http://one/ /r$arg_p/;
        proxy_hide_header X-Hidden; proxy_pass_header Server; }
    location /method { proxy_pass http://one; proxy_method $method_map; }
    location /body { proxy_pass http://one; proxy_set_body "$request_uri $http_x_a"; }
    location /bare { proxy_pass http://two; proxy_pass_request_headers off; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
    location /stream { proxy_pass http://one; proxy_request_buffering off; proxy_buffering off; }
    location /old { proxy_pass http://one; proxy_http_version 1.0; }
    location /limited { proxy_pass http://one; client_max_body_size 8; limit_except GET POST { deny all; } }
    location /rewritten { rewrite ^/rewritten/(\w+) /set/$1?from=$1 last; return 200 "$uri $http_x_a"; }
    location /return { return 200 "$uri|$args|$http_x_a|$cookie_session|$host|$loose|$a_map\n"; }
    location /moved { return 301 /there$uri?$args; }
    location /file { try_files $uri /page.txt =404; expires 1h; add_header X-A $http_x_a; }
    location /sent { internal; alias FILES; add_header X-Sent "$http_x_a"; }
    location /trailers { proxy_pass http://one; add_trailer X-T "$http_x_a $upstream_status"; }
}
server { listen 127.0.0.1:8080; server_name b.test *.b.test; add_header X-Server "b $host"; location / { proxy_pass http://two; } }
server { listen 127.0.0.1:8080; server_name "~^(?<sub>\w+)\.c\.test$"; location / { proxy_pass http://two/$sub; } location /return { return 200 $sub; } }
"""

FILES = {"page.txt": b"a page\n", "file.html": b"<html>body</html>\n" * 9, "file": b"0123456789" * 10}


# What is said.


@dataclass(frozen=True)
class Message:
    """A head and a body that are not yet bytes: both requests and answers. framing: how the end of the body is told."""

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    framing: str = "length"

    def head(self, more: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
        lines = [b" ".join(self.start), *(name + b": " + value for name, value in (*self.fields, *more))]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def wire(self, is_bodiless: bool = False) -> bytes:
        """All of it. is_bodiless: what would be the body is not sent, but its framing is told."""
        if self.framing == "none":
            return self.head()
        if self.framing == "chunked":
            half = len(self.body) // 2
            pieces = [piece for piece in (self.body[:half], self.body[half:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            return self.head(((b"Transfer-Encoding", b"chunked"),)) + (b"" if is_bodiless else body)
        if self.framing == "close":
            return self.head(((b"Connection", b"close"),)) + (b"" if is_bodiless else self.body)
        return self.head(((b"Content-Length", b"%d" % len(self.body)),)) + (b"" if is_bodiless else self.body)


# What belongs together: a sequence keeps to one or two of these, so that what it repeats is a repetition.
THEMES = [
    [b"/", b"/%7Euser//x/../y", b"/missing", b"/block/x#part", b"http://a.test/block/x?y", b"http://b.test/set/x"],
    [b"/set/x", b"/set/y?a=1", b"/reads", b"/reads?a=1", b"/request/a%20b?x=1", b"/request?x_a=2", b"/trailers"],
    [b"/block/x", b"/block/y", b"/block/two", b"/block/two/y", b"/block/small", b"/block/small"],
    [b"/named/v", b"/named/v?up=2", b"/named/w", b"/named/w?up=3"],
    [b"/block/n", b"/named/n", b"/named/n?up=2", b"/jump", b"/jump/two"],
    [b"/bound?from=2", b"/bound?from=3", b"/bound?from=3&x", b"/"],
    [b"/pages", b"/jump", b"/file", b"/file.html", b"/return"],
    [b"/gzip", b"/sub", b"/charset", b"/gzip/x"],
    [b"/cookies?p=1", b"/cookies", b"/cookies?p=2"],
    [b"/method?m=head", b"/method?m=post", b"/method", b"/body", b"/body?x", b"/bare"],
    [b"/stream", b"/old", b"/limited", b"/stream?x"],
    [b"/rewritten/a", b"/rewritten/b", b"/return", b"/return?a=b", b"/moved?x", b"/moved?y"],
]
METHODS = [b"GET"] * 6 + [b"HEAD", b"POST", b"PUT", b"PATCH"]
HOSTS = [b"a.test"] * 4 + [b"b.test", b"x.b.test", b"y.c.test", b"z.c.test", b"A.test:8080", b"other"]
FIELDS: dict[bytes, list[bytes]] = {
    b"X-A": [b"1", b"2", b"", b"long" * 40, b"\xe4"],
    b"X_A": [b"under", b"score"],
    b"Cookie": [b"session=1", b"session=2; other=3", b"other=4", b"session="],
    b"User-Agent": [b"curl", b"Mozilla/4.0 (compatible; MSIE 6.0)", b"Chrome"],
    b"Accept-Encoding": [b"gzip", b"identity", b"gzip;q=0, br", b"br, gzip"],
    b"Connection": [b"keep-alive", b"X-A", b"close", b"x-b, keep-alive"],
    b"If-None-Match": [b'"1"', b"*"],
    b"If-Modified-Since": [b"Sun, 06 Nov 1994 08:49:37 GMT"],
    b"Range": [b"bytes=0-3", b"bytes=-5", b"bytes=2-,0-1"],
    b"X-Forwarded-For": [b"192.0.2.1", b"192.0.2.2, 192.0.2.3"],
    b"Authorization": [b"Basic dTpw", b"Bearer x"],
    b"Via": [b"1.1 x"],
    b"Referer": [b"http://r/1", b"http://r/2"],
    b"TE": [b"trailers"],
    b"Expect": [b"100-continue"],
}
BODIES = [b"", b"a=1", b"a=2", b"b" * 20, b"c" * 3000]
STATUSES = [b"200 OK"] * 5 + [b"201 Created", b"204 No Content", b"301 Moved", b"304 Not Modified", b"401 No", b"404 Not Found",
            b"410 Gone", b"500 Oops", b"503 Later", b"418 Teapot", b"200 Fine"]  # fmt: skip
ANSWER_FIELDS: dict[bytes, list[bytes]] = {
    b"X-A": [b"u1", b"u2", b"u" * 1500],
    b"Content-Type": [b"text/plain", b"text/html; charset=koi8-r", b"application/json"],
    b"Set-Cookie": [b"a=1; path=/; domain=one", b"b=2; path=/z"],
    b"Location": [b"http://one/x", b"/x", b"http://else/"],
    b"ETag": [b'"1"', b'W/"2"'],
    b"Last-Modified": [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Mon, 07 Nov 1994 08:49:37 GMT"],
    b"Cache-Control": [b"no-store", b"max-age=5"],
    b"X-Accel-Redirect": [b"/sent/page.txt", b"/return", b"@n", b"/block/two", b"/../x"],
    b"X-Accel-Charset": [b"koi8-r", b"windows-1251"],
    b"X-Accel-Buffering": [b"no", b"yes"],
    b"X-Hidden": [b"h1", b"h2"],
    b"Connection": [b"keep-alive", b"X-A"],
    b"Keep-Alive": [b"timeout=1", b"timeout=60"],
    b"Server": [b"backend/1"],
    b"Vary": [b"Accept"],
    b"Date": [b"Sun, 06 Nov 1994 08:49:37 GMT"],
    b"WWW-Authenticate": [b"Basic"],
    b"Content-Encoding": [b"identity"],
    b"Content Length": [b"9"],
}
ANSWER_BODIES = [b"", b"body", b"other", b"body body" * 30, b"x" * 9000]


@dataclass(frozen=True)
class Act:
    """One request and what its back-ends answer, in turn and from the beginning again."""

    request: Message
    answers: tuple[Message, ...]


class Author:
    """Writes sequences."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.targets = [target for theme in self.chance.sample(THEMES, self.chance.choice((1, 1, 2))) for target in theme]
        # A few fields only, or no two header blocks would be the same.
        self.fields = self.few(FIELDS)
        self.answer_fields = self.few(ANSWER_FIELDS)
        self.statuses = self.chance.sample(STATUSES, 3)

    def few(self, fields: dict[bytes, list[bytes]]) -> dict[bytes, list[bytes]]:
        return {name: fields[name] for name in self.chance.sample(list(fields), 4)}

    def sequence(self, length: int) -> list[Act]:
        """Each act is like one of those before it, or a little different."""
        acts: list[Act] = [self.first()]
        while len(acts) < length:
            before = acts[-1] if self.chance.random() < 0.7 else self.chance.choice(acts)
            request, answers = before.request, before.answers
            for _ in range(self.chance.choice((0, 1, 1, 2, 4))):
                request = self.vary_request(request)
            for _ in range(self.chance.choice((0, 0, 1, 1, 3))):
                place = self.chance.randrange(len(answers))
                answers = (*answers[:place], self.vary_answer(answers[place]), *answers[place + 1 :])
            acts.append(Act(request, answers))
        return acts

    def first(self) -> Act:
        choose = self.chance.choice
        fields = [(b"Host", choose(HOSTS))]
        fields += [(name, choose(values)) for name, values in self.fields.items() if self.chance.random() < 0.25]
        request = Message((b"GET", choose(self.targets), b"HTTP/1.1"), tuple(fields), framing="none")
        answers = []
        for _ in range(2):
            own = [(name, choose(values)) for name, values in self.answer_fields.items() if self.chance.random() < 0.15]
            if self.chance.random() < 0.15:
                own.append((b"X-Accel-Redirect", choose(ANSWER_FIELDS[b"X-Accel-Redirect"])))
            answers.append(Message((b"HTTP/1.1", choose(self.statuses)), tuple(own), choose(ANSWER_BODIES)))
        return Act(request, tuple(answers))

    def vary_request(self, request: Message) -> Message:
        choose = self.chance.choice
        method, target, version = request.start
        what = self.chance.random()
        if what < 0.5:
            return Message((method, choose(self.targets), version), request.fields, request.body, request.framing)
        if what < 0.57:
            method = choose(METHODS)
            takes_body = method in (b"POST", b"PUT", b"PATCH")
            framing, body = (choose(("length", "chunked")), choose(BODIES)) if takes_body else ("none", b"")
            return Message((method, target, version), request.fields, body, framing)
        if what < 0.6:
            return Message((method, target, choose((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"))), request.fields, request.body,
                           "length" if request.framing == "chunked" else request.framing)  # fmt: skip
        if what < 0.65 and request.framing != "none":
            return Message(request.start, request.fields, choose(BODIES), request.framing)
        if what < 0.7:
            fields = tuple((name, choose(HOSTS) if name == b"Host" else value) for name, value in request.fields)
            return Message(request.start, fields, request.body, request.framing)
        return Message(request.start, self.vary_fields(request.fields, self.fields), request.body, request.framing)

    def vary_answer(self, answer: Message) -> Message:
        choose = self.chance.choice
        what = self.chance.random()
        if what < 0.35:
            return Message((answer.start[0], choose(self.statuses)), answer.fields, answer.body, answer.framing)
        if what < 0.4:
            return Message(answer.start, answer.fields, choose(ANSWER_BODIES), answer.framing)
        if what < 0.55:
            return Message(answer.start, answer.fields, answer.body, choose(("length", "length", "chunked", "close")))
        return Message(answer.start, self.vary_fields(answer.fields, self.answer_fields), answer.body, answer.framing)

    def vary_fields(
        self, fields: tuple[tuple[bytes, bytes], ...], known: dict[bytes, list[bytes]]
    ) -> tuple[tuple[bytes, bytes], ...]:
        """One value, one spelling, one line more or less, one twice, or another order."""
        choose = self.chance.choice
        lines = list(fields)
        what = self.chance.random()
        places = [place for place, (name, _) in enumerate(lines) if name.title() in known or name in known]
        if what < 0.5 and places:
            place = choose(places)
            name = lines[place][0]
            lines[place] = (name, choose(known.get(name) or known.get(name.title()) or [b"v"]))
        elif what < 0.6 and places:
            place = choose(places)
            lines[place] = (choose((lines[place][0].lower(), lines[place][0].title())), lines[place][1])
        elif what < 0.75 and places:
            del lines[choose(places)]
        elif what < 0.8 and len(lines) > 2:
            self.chance.shuffle(lines)
        elif what < 0.85 and places:
            lines.append(lines[choose(places)])
        else:
            name = choose(list(known))
            lines.insert(self.chance.randrange(len(lines) + 1), (name, choose(known[name])))
        return tuple(lines)


# Performances.


@dataclass
class Scene:
    """What came of one request.

    heard: of each exchange the peer's number, where its connection came from, and what it received. got: what the client did.
    """

    heard: list[tuple[int, str, bytes]] = field(default_factory=list)
    got: bytes = b""
    is_open: bool = True


@dataclass
class Count:
    """What a worker has open, and its memory in bytes."""

    descriptors: int
    streams: int
    clients: int
    tasks: int
    memory: int


class Theatre:
    """The worker that has served nobody, its peers, and its children."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        _load_nginx_syntax(monkeypatch, directory)
        files = directory / "files"
        files.mkdir()
        for name, data in FILES.items():
            (files / name).write_bytes(data)
            os.utime(files / name, (800_000_000, 800_000_000))
        http = CONFIGURATION.replace("FILES", f"{files}/").replace("{", "{{").replace("}", "}}")
        http = http.replace("ONE", "{peers[0]}").replace("TWO", "{peers[1]}")
        text = "error_log {directory}/error.log crit; events {{ }} http {{ access_log off; log_format test '{log_format}';"
        self.stage = Stage(monkeypatch, str(directory), peers=2, text=f"{text} {http} }}}}")

    def close(self) -> None:
        self.stage.close(sweep=False)

    def perform(self, play: Callable[[Play], object]) -> object:
        """What this returns in a child of its own. Raises AssertionError with what it raised there."""
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reader)
                signal.alarm(120)
                try:
                    result = (True, play(Play(self.stage)))
                except BaseException:
                    result = (False, traceback.format_exc())
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(result, pipe)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        os.waitpid(pid, 0)
        assert data, "the worker has died"
        is_good, value = pickle.loads(data)
        assert is_good, value
        return value


class Play:
    """One performance, in the child."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.upstreams: list[tuple[int, End, bytearray]] = []
        self.client: End | None = None

    def alone(self, act: Act) -> Scene:
        """The request, and nothing before it."""
        return self.act([act], [None])[0]

    def in_turn(
        self, acts: list[Act], alone: list[Scene], pairs: set[int], leaves: frozenset[int] = frozenset()
    ) -> tuple[list[Scene], Count, Count]:
        """All requests over as few connections as may be; and what the worker had open before and has open after them.

        pairs: the numbers of those that are sent together with the next one. leaves: of those before which the client leaves and
        comes again. alone: what came of each by itself.
        """
        before = self.count()
        scenes: list[Scene] = []
        number = 0
        while number < len(acts):
            both = number in pairs and number + 1 < len(acts) and alone[number].is_open
            count = 2 if both else 1
            if number in leaves and self.client is not None:
                self.client.close()
                self.client = None
                self.stage.settle()
            scenes += self.act(acts[number : number + count], [len(scene.heard) for scene in alone[number : number + count]])
            number += count
        if self.client is not None:
            self.client.close()
        for group in self.stage.worker.groups.values():
            for peer in group.peers:
                assert not peer.connections, f"{peer} counts a connection that is over"
            while group.idle_count:
                group._close_oldest()
        for _, end, _ in self.upstreams:
            end.close()
        self.stage.settle()
        assert not self.stage.bugs, self.stage.bugs
        return scenes, before, self.count()

    def act(self, acts: list[Act], exchanges: list[int | None]) -> list[Scene]:
        """Send these requests at once; what comes of each, the client's part with the last one."""
        if self.client is None or not self.client.is_open():
            if self.client is not None:
                self.client.close()
            self.client = self.stage.client()
        client = self.client
        client.received.clear()
        with contextlib.suppress(OSError):
            client.send_some(b"".join(act.request.wire() for act in acts))
        scenes = [Scene() for _ in acts]
        number = 0
        limit = time.monotonic() + PATIENCE
        methods = [act.request.start[0] for act in acts]
        while True:
            for peer, heard, end in self.requests():
                if number + 1 < len(acts) and len(scenes[number].heard) == exchanges[number]:
                    number += 1
                scene, answers = scenes[number], acts[number].answers
                answer = answers[len(scene.heard) % len(answers)]
                scene.heard.append((peer, end.sock.getpeername()[0], heard))
                self.answer(end, heard, answer)
            self.stage.settle()
            if (
                client.pull() is not None
                and (client.saw_end or is_answered(bytes(client.received), methods))
                and not self.stage.is_busy()
            ):
                break
            if time.monotonic() > limit:
                break
            if not self.stage.is_busy():
                self.stage._breathe()
        scenes[-1].got = bytes(client.pull_all())
        scenes[-1].is_open = client.is_open()
        return scenes

    def requests(self) -> Iterator[tuple[int, bytes, End]]:
        """The complete requests that peers have received and not yet answered."""
        self.stage.settle()
        for number, peer in enumerate(self.stage.peers):
            while (sock := peer._try_accept()) is not None:
                self.upstreams.append((number, End(self.stage, sock, f"upstream {number}"), bytearray()))
        for number, end, held in self.upstreams:
            if end.over:
                continue
            held += end.pull()
            end.received.clear()
            length = length_of_request(bytes(held))
            if length:
                heard = bytes(held[:length])
                del held[:length]
                yield number, heard, end

    def answer(self, end: End, heard: bytes, answer: Message) -> None:
        method, status = heard.split(b" ", 1)[0], answer.start[1][:3]
        with contextlib.suppress(OSError):
            end.send_some(answer.wire(is_bodiless=method == b"HEAD" or status in (b"204", b"304")))
        if answer.framing == "close":
            end.close()

    def count(self) -> Count:
        self.stage.settle()
        loop = self.stage.loop
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return Count(
            len(os.listdir("/proc/self/fd")) - 2 * len(pipes.pool.idle),
            loop.stream_count(),
            len(self.stage.worker.clients.connections),
            len(loop.tasks),
            resident,
        )


_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked\r\n")


def end_of_chunks(data: bytes, begin: int) -> int:
    """Where a chunked body ends, trailers included; 0 when it has not."""
    while True:
        line = data.find(b"\r\n", begin)
        if line < 0:
            return 0
        size = int(data[begin:line], 16)
        if not size:
            end = data.find(b"\r\n\r\n", line)
            return end + 4 if end >= 0 else 0
        begin = line + 2 + size + 2
        if begin > len(data):
            return 0


def length_of_request(data: bytes) -> int:
    """How many bytes the first request in this takes; 0 when it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[: end + 2]
    if _CHUNKED.search(head):
        return end_of_chunks(data, end + 4)
    length = _LENGTH.search(head)
    total = end + 4 + (int(length[1]) if length else 0)
    return total if len(data) >= total else 0


def is_answered(data: bytes, methods: list[bytes]) -> bool:
    """Whether there is a complete answer to each of these methods."""
    for method in methods:
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return False
            head, data = data[: end + 2], data[end + 4 :]
            status = head[9:12]
            if status[:1] != b"1":
                break
        if method == b"HEAD" or status in (b"204", b"304"):
            continue
        length = _LENGTH.search(head)
        if _CHUNKED.search(head):
            end = end_of_chunks(data, 0)
            if not end:
                return False
            data = data[end:]
        elif length is None or len(data) < int(length[1]):
            return False  # to the end of the connection, or not all there
        else:
            data = data[int(length[1]) :]
    return True


# Comparing.

_OWN = re.compile(rb"\r\nDate: \w{3}, \d\d \w{3} (?!1994)\d{4} [\d:]* GMT")
_IDENTIFIER = re.compile(rb"\b[0-9a-f]{32}\b")


_BOUNDARY = re.compile(rb"\b\d{20}\b")


def comparable(data: bytes) -> bytes:
    return _BOUNDARY.sub(b"BOUNDARY", _IDENTIFIER.sub(b"ID", _OWN.sub(b"\r\nDate: now", data)))


def rehearse(theatre: Theatre, seed: int, length: int) -> list[str]:
    """Perform a sequence both ways; what differs, as text."""
    author = Author(seed)
    acts = author.sequence(length)
    pairs = {number for number in range(length) if author.chance.random() < 0.2}
    return compare(theatre, acts, pairs, frozenset(number for number in range(length) if author.chance.random() < 0.25))


def compare(theatre: Theatre, acts: list[Act], pairs: set[int], leaves: frozenset[int] = frozenset()) -> list[str]:
    """The same with these acts. pairs: the numbers of those that are sent together with the next one, where that may be.

    leaves: the numbers of those that come over a new connection.
    """
    length = len(acts)
    alone = [theatre.perform(lambda play, act=act: play.alone(act)) for act in acts]  # type: ignore[misc]
    scenes, before, after = theatre.perform(lambda play: play.in_turn(acts, alone, pairs, leaves))  # type: ignore[misc]
    found: list[str] = []
    identifiers: dict[bytes, int] = {}
    expected_bytes = b""
    for number, (kept, own) in enumerate(zip(scenes, alone, strict=True)):
        for each in {match for _, _, heard in kept.heard for match in _IDENTIFIER.findall(heard)}:
            if identifiers.setdefault(each, number) != number:
                found.append(f"act {number} has the identifier of act {identifiers[each]}")
        expected = [(peer, address, comparable(heard)) for peer, address, heard in own.heard]
        received = [(peer, address, comparable(heard)) for peer, address, heard in kept.heard]
        if expected != received:
            found.append(f"act {number}: back-ends received\n{shown(received)}\ninstead of\n{shown(expected)}")
        expected_bytes += comparable(own.got)
        if kept.got == b"" and number + 1 < length and own.got:
            continue  # it was sent with the next one, and that has the answers to both
        if comparable(kept.got) != expected_bytes:
            found.append(f"act {number}: the client got\n{shown(comparable(kept.got))}\ninstead of\n{shown(expected_bytes)}")
        if kept.is_open != own.is_open:
            found.append(f"act {number}: the connection is {'open' if kept.is_open else 'closed'}")
        expected_bytes = b""
    for name in ("descriptors", "streams", "clients", "tasks"):
        if getattr(before, name) != getattr(after, name):
            found.append(f"{name}: {getattr(before, name)} before, {getattr(after, name)} after")
    if after.memory - before.memory > MOST_GROWTH:
        found.append(f"memory: {before.memory >> 10} kB before, {after.memory >> 10} kB after")
    if found:
        found.append("the sequence:\n" + "\n".join(f"{number}: {act}" for number, act in enumerate(acts)))
    return found


def shown(what: object) -> str:
    return repr(what).replace("\\r\\n", "\n    ")
