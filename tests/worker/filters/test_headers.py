"""add_header, add_trailer and expires on responses of every kind; the tables are what nginx 1.22.1 sent (routing.md §5.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from made_requests import make_client, make_request

from worker.filters.headers import expiry, headers_filter, next_time_of_day
from worker.filters.order import filters_of
from worker.http1.write import KEEPALIVE, make_head
from wproxy.config.load import load_text
from wproxy.config.model import Location, Server
from wproxy.directives.headers import added_field, expires, parse_expires
from wproxy.failures import ClientError
from wproxy.http import Clock, Request, Response, ResponseFields
from wproxy.route import Route

NOW = 1_795_373_387  # Sun, 22 Nov 2026 18:49:47 GMT


@pytest.fixture
def clock() -> Clock:
    return Clock(now=50.0, offset=NOW - 50.0)


@pytest.fixture
def request_for(clock):
    """Makes requests of one client: `request_for("/x?a=1", "X-A: b")`."""
    client = make_client(clock)

    def make(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> Request:
        return make_request(target, *fields, client=client, method=method, version=version)

    return make


def place(*headers: tuple[str, ...], trailers: tuple[tuple[str, ...], ...] = (), expire: tuple[str, ...] = ("off",)) -> Location:
    """A location with these settings."""
    values = {
        "add_header": tuple(added_field(*item) for item in headers),
        "add_trailer": tuple(added_field(*item) for item in trailers),
        "expires": expires(*expire),
    }
    return Location(values, {})


def lines_of(response: Response) -> list[bytes]:
    return [name + b": " + value for name, value in response.fields.lines]


def added_to(location: Location, request: Request, status: int = 200, *lines: tuple[bytes, bytes]) -> list[bytes]:
    """The lines of a response with this status and these lines after the location's filter."""
    apply = headers_filter(location)
    assert apply is not None
    return lines_of(apply(request, Response(ResponseFields(status, lines))))


# What is added, and to which responses.


def test_a_location_that_adds_nothing_has_no_filter():
    assert headers_filter(place()) is None


@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 302, 303, 304, 307, 308])
def test_success_and_redirection_get_all_fields(request_for, status):
    location = place(("X-One", "1"), ("X-Two", "2", "always"), expire=("epoch",))
    assert added_to(location, request_for(), status) == [
        b"Expires: Thu, 01 Jan 1970 00:00:01 GMT",
        b"Cache-Control: no-cache",
        b"X-One: 1",
        b"X-Two: 2",
    ]


@pytest.mark.parametrize("status", [101, 202, 203, 205, 300, 400, 404, 416, 494, 500, 502])
def test_other_statuses_get_only_what_is_for_always(request_for, status):
    location = place(("X-One", "1"), ("X-Two", "2", "always"), expire=("epoch",))
    assert added_to(location, request_for(), status) == [b"X-Two: 2"]


def test_a_response_that_gets_nothing_stays_as_it_is(request_for):
    apply = headers_filter(place(("X-One", "1")))
    response = Response(ResponseFields(404))
    fields = response.fields
    assert apply(request_for(), response) is response
    assert response.fields is fields


@pytest.mark.parametrize(
    ("headers", "before", "after"),
    [
        # An empty value adds nothing.
        ((("X-Empty", ""), ("X-None", "$arg_none")), (), []),
        # A second line, even beside our own fields.
        ((("Server", "mine"), ("Date", "then")), (), [b"Server: mine", b"Date: then"]),
        ((("Content-Length", "77"),), (), [b"Content-Length: 77"]),
        ((("x-first", "2"),), ((b"X-First", b"1"),), [b"X-First: 1", b"x-first: 2"]),
        # Lists grow.
        ((("Cache-Control", "public"),), ((b"Cache-Control", b"private"),), [b"Cache-Control: private", b"Cache-Control: public"]),
        ((("Link", "<a>"), ("Link", "<b>")), (), [b"Link: <a>", b"Link: <b>"]),
        # There is one of these: it is replaced where it stands, or removed.
        ((("ETag", '"mine"'),), ((b"ETag", b'"up"'), (b"X-Last", b"l")), [b'ETag: "mine"', b"X-Last: l"]),
        ((("etag", '"mine"'),), ((b"ETag", b'"up"'),), [b'etag: "mine"']),
        ((("ETag", '"mine"'),), ((b"X-First", b"f"),), [b"X-First: f", b'ETag: "mine"']),
        ((("ETag", ""), ("Last-Modified", "$arg_none")), ((b"ETag", b'"up"'), (b"Last-Modified", b"then"), (b"A", b"b")), [b"A: b"]),
        ((("Last-Modified", "now"),), ((b"Last-Modified", b"then"), (b"A", b"b")), [b"Last-Modified: now", b"A: b"]),
    ],
)  # fmt: skip
def test_what_adding_does_to_the_lines(request_for, headers, before, after):
    assert added_to(place(*headers), request_for(), 200, *before) == after


def test_our_own_date_and_server_stand_beside_those_that_are_added(request_for):
    apply = headers_filter(place(("Date", "then"), ("Server", "mine")))
    fields = apply(request_for(), Response(ResponseFields(200, server=b"wproxy"))).fields
    assert fields.wants_date
    assert fields.server == b"wproxy"


def test_everything_else_of_a_response_is_kept(request_for):
    apply = headers_filter(place(("X-One", "1")))
    original = ResponseFields(
        301, content_type=b"text/html", content_length=5, server=b"s", reason=b"Moved", location=b"http://h/x"
    )
    fields = apply(request_for(), Response(original, b"hello")).fields
    head = make_head(fields, KEEPALIVE, None, b"Date: now\r\n")
    before, _, after = head.partition(b"Date: now\r\n")
    assert before == b"HTTP/1.1 301 Moved\r\nServer: s\r\n"
    assert after.split(b"\r\n") == [
        b"Content-Type: text/html",
        b"Content-Length: 5",
        b"Location: http://h/x",
        b"Connection: keep-alive",
        b"X-One: 1",
        b"",
        b"",
    ]


def test_variables_are_of_the_request_at_hand(request_for):
    apply = headers_filter(place(("X-Who", "$http_who"), ("X-Arg", "$arg_a")))
    fields = ResponseFields(200)
    for who, arg in [("me", "1"), ("you", "1"), ("me", "2")]:
        response = apply(request_for(f"/?a={arg}", f"Who: {who}"), Response(fields))
        assert lines_of(response) == [f"X-Who: {who}".encode(), f"X-Arg: {arg}".encode()]


def test_the_host_of_the_request_line_counts_beside_the_same_header_block(request_for):
    apply = headers_filter(place(("X-Host", "$host")))
    fields = ResponseFields(200)
    for target, host in [("http://one/", b"one"), ("http://two/", b"two"), ("/", b"h")]:
        assert lines_of(apply(request_for(target, "Who: me"), Response(fields))) == [b"X-Host: " + host]


def test_a_value_sees_what_was_added_before_it(request_for):
    location = place(
        ("X-One", "1"), ("X-Sent", "$sent_http_x_one|$sent_http_cache_control|$sent_http_x_two"), ("X-Two", "2"), expire=("max",)
    )
    assert b"X-Sent: 1|max-age=315360000|" in added_to(location, request_for())


# Safety.


class Body:
    """A body that notes that it was given up."""

    closed = False

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("target", ["/a%0d%0aSet-Cookie:x", "/a%0ab", "/a%0db", "/a%00b"])
def test_a_line_break_in_a_value_refuses_the_request(request_for, target):
    text = b"events { } http { server { listen 127.0.0.1:8080; add_header X-Uri $uri; } }"
    configuration = load_text(text, "test.conf", "/", lambda host, port: [])
    location = configuration.servers[0].locations.fallback
    apply, _ = filters_of(location, SimpleNamespace(configuration=configuration))  # type: ignore[arg-type]
    request = request_for(target.replace("%00", "%01"))
    if "%00" in target:
        request.path = b"/a\0b"
    body = Body()
    with pytest.raises(ClientError) as caught:
        apply(request, Response(ResponseFields(200), source=body))
    assert caught.value.status == 500
    assert body.closed


# What is shared is never changed, and what repeats is not made again.


@pytest.mark.parametrize(
    "location",
    [
        place(("X-One", "1"), expire=("max",)),
        place(("X-Who", "$http_who $host")),
        place(("X-Arg", "$arg_a")),
        place(expire=("1h",)),
        place(expire=("modified", "1h")),
        place(("X-One", "1"), trailers=(("X-T", "t"),)),
    ],
)
def test_the_same_additions_give_the_same_fields(request_for, location):
    apply = headers_filter(location)
    original = ResponseFields(200, ((b"A", b"b"),))
    first = apply(request_for("/?a=1", "Who: me"), Response(original)).fields
    again = apply(request_for("/?a=1", "Who: me"), Response(original)).fields
    assert first is again
    assert first is not original
    assert original.lines == ((b"A", b"b"),)


def test_two_locations_keep_what_they_add_apart(request_for):
    one, two = headers_filter(place(("X", "1"))), headers_filter(place(("X", "2")))
    original = ResponseFields(200)
    for _ in range(2):
        assert lines_of(one(request_for(), Response(original))) == [b"X: 1"]
        assert lines_of(two(request_for(), Response(original))) == [b"X: 2"]


def test_little_is_kept_of_values_that_never_repeat(request_for):
    apply = headers_filter(place(("X-Arg", "$arg_a"), expire=("$arg_a",)))
    original = ResponseFields(200)
    for number in range(1000):
        apply(request_for(f"/?a={number}"), Response(original))
    assert len(original.wire) == 1


# expires


@pytest.mark.parametrize(
    ("text", "date", "control"),
    [
        ("1h", b"Sun, 22 Nov 2026 19:49:47 GMT", b"max-age=3600"),
        ("+1d", b"Mon, 23 Nov 2026 18:49:47 GMT", b"max-age=86400"),
        ("0", b"Sun, 22 Nov 2026 18:49:47 GMT", b"max-age=0"),
        ("-0", b"Sun, 22 Nov 2026 18:49:47 GMT", b"max-age=0"),
        ("-5", b"Sun, 22 Nov 2026 18:49:42 GMT", b"no-cache"),
        ("epoch", b"Thu, 01 Jan 1970 00:00:01 GMT", b"no-cache"),
        ("max", b"Thu, 31 Dec 2037 23:55:55 GMT", b"max-age=315360000"),
        ("99999d", b"Thu, 06 Sep 2300 18:49:47 GMT", b"max-age=8639913600"),
    ],
)
@pytest.mark.parametrize("from_variable", [False, True])
def test_expires_and_cache_control(request_for, text, date, control, from_variable):
    written = "$http_e" if from_variable else text
    lines = added_to(place(expire=(written,)), request_for("/", f"E: {text}"))
    assert lines == [b"Expires: " + date, b"Cache-Control: " + control]


@pytest.mark.parametrize("text", ["", "bad", "off", "@30h", "@-1h", "500ms"])
def test_a_variable_that_makes_no_sense_adds_nothing(request_for, text):
    assert added_to(place(expire=("$http_e",)), request_for("/", f"E: {text}")) == []


@pytest.mark.parametrize("text", ["epoch", "max", "@1h"])
def test_after_modified_only_a_time_makes_sense(request_for, text):
    assert added_to(place(expire=("modified", "$http_e")), request_for("/", f"E: {text}")) == []


@pytest.mark.parametrize(
    ("modified", "text", "date", "control"),
    [
        (b"Tue, 02 Jan 2024 03:04:05 GMT", "300d", b"Mon, 28 Oct 2024 03:04:05 GMT", b"no-cache"),
        (b"Sun, 22 Nov 2026 18:00:00 GMT", "1h", b"Sun, 22 Nov 2026 19:00:00 GMT", b"max-age=613"),
        (b"Sun, 22 Nov 2026 18:00:00 GMT", "0", b"Sun, 22 Nov 2026 18:49:47 GMT", b"max-age=0"),
        (b"yesterday", "1h", b"Sun, 22 Nov 2026 19:49:47 GMT", b"max-age=3600"),
        (None, "1h", b"Sun, 22 Nov 2026 19:49:47 GMT", b"max-age=3600"),
    ],
)
def test_modified_counts_from_the_last_modification(request_for, modified, text, date, control):
    lines = ((b"last-modified", modified),) if modified else ()
    after = added_to(place(expire=("modified", text)), request_for(), 200, *lines)
    assert after[len(lines) :] == [b"Expires: " + date, b"Cache-Control: " + control]


def test_what_the_upstream_said_is_replaced_where_it_stands(request_for):
    upstream = (
        (b"X-First", b"f"),
        (b"Cache-Control", b"private"),
        (b"expires", b"yesterday"),
        (b"Cache-Control", b"no-store"),
        (b"X-Last", b"l"),
    )
    location = place(("Cache-Control", "public"), expire=("1h",))
    assert added_to(location, request_for(), 200, *upstream) == [
        b"X-First: f",
        b"Cache-Control: max-age=3600",
        b"expires: Sun, 22 Nov 2026 19:49:47 GMT",
        b"X-Last: l",
        b"Cache-Control: public",
    ]


def test_the_time_moves_on_with_the_clock(request_for, clock):
    apply = headers_filter(place(expire=("1m",)))
    original = ResponseFields(200)
    expected = {0: b"18:50:47", 0.9: b"18:50:47", 1: b"18:50:48", 60: b"18:51:47"}
    for passed, shown in expected.items():
        clock.now = 50.0 + passed
        assert shown in lines_of(apply(request_for(), Response(original)))[0]


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Auckland"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("seconds", [0, 1, 55_800, 86_399, 86_400])
def test_a_time_of_day_is_the_next_one_by_the_local_clock(zone, seconds):
    for now in range(NOW, NOW + 86_400, 7_001):
        at = next_time_of_day(seconds, now)
        shown = time.localtime(at)
        assert shown.tm_hour * 3600 + shown.tm_min * 60 + shown.tm_sec == seconds % 86_400
        assert 0 < at - now <= 86_400


def test_a_time_of_day_skips_the_hour_that_summer_takes(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    before = 1_772_870_400  # Sat, 07 Mar 2026 08:00:00 UTC: the clocks go forward the night after
    assert time.strftime("%d %H:%M", time.localtime(next_time_of_day(6 * 3600, before))) == "07 06:00"
    assert time.strftime("%d %H:%M", time.localtime(next_time_of_day(6 * 3600, before + 43_200))) == "08 06:00"
    monkeypatch.undo()
    time.tzset()


def test_a_time_of_day_tells_the_seconds_until_then(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert expiry(parse_expires("@15h30m", False), NOW, None) == (b"Mon, 23 Nov 2026 15:30:00 GMT", b"max-age=74413")
    monkeypatch.undo()
    time.tzset()


# Trailers


def trailed(location: Location, request: Request, response: Response) -> Response:
    apply = headers_filter(location)
    assert apply is not None
    return apply(request, response)


def test_trailers_make_the_length_unknown(request_for):
    location = place(trailers=(("X-T", "t"),))
    response = trailed(location, request_for(), Response(ResponseFields(200, content_length=5), b"hello"))
    assert response.fields.content_length == -1
    assert response.trailers(request_for()) == ((b"X-T", b"t"),)
    assert response.body == b"hello"


def test_trailers_are_read_when_the_body_is_over(request_for):
    request = request_for()
    response = trailed(place(trailers=(("X-Sent", "$body_bytes_sent"),)), request, Response(ResponseFields(200), b"x"))
    request.body_bytes_sent = 77
    assert response.trailers(request) == ((b"X-Sent", b"77"),)


@pytest.mark.parametrize(
    ("status", "sent"),
    [(200, ((b"X-T", b"t"), (b"X-A", b"a"))), (404, ((b"X-A", b"a"),)), (301, ((b"X-T", b"t"), (b"X-A", b"a")))],
)
def test_trailers_go_with_the_statuses_that_fields_go_with(request_for, status, sent):
    location = place(trailers=(("X-T", "t"), ("X-Empty", ""), ("X-A", "a", "always")))
    request = request_for()
    assert trailed(location, request, Response(ResponseFields(status))).trailers(request) == sent


def test_before_http_1_1_there_are_no_trailers(request_for):
    location = place(trailers=(("X-T", "t"),))
    response = trailed(location, request_for(version="1.0"), Response(ResponseFields(200, content_length=5), b"hello"))
    assert response.fields.content_length == 5
    assert not hasattr(response, "trailers") or response.trailers is None


def test_a_response_without_a_body_keeps_its_length(request_for):
    location = place(trailers=(("X-T", "t"),))
    response = trailed(location, request_for(method="HEAD"), Response(ResponseFields(200, content_length=5), bodiless=True))
    assert response.fields.content_length == 5


def test_a_trailer_with_a_line_break_is_left_out(request_for):
    notes: list[str] = []

    class Log:
        has_json = False

        def logs(self, level: str) -> bool:
            return True

        def write(self, level: str, text: str, serial: int, message: str, details: object) -> None:
            notes.append(f"{level} {text}")

    request = request_for("/a%0d%0aSet-Cookie:x")
    response = trailed(place(trailers=(("X-Uri", "$uri"), ("X-T", "t"))), request, Response(ResponseFields(200), b"x"))
    location = place()
    location.server = Server({}, {})
    location.server.names = ()
    request.server = location.server
    request.route = Route(location, b"wproxy", Log())
    assert response.trailers(request) == ((b"X-T", b"t"),)
    assert len(notes) == 1
    assert "while sending trailer X-Uri" in notes[0]
