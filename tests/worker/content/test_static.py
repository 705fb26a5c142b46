"""Files as a client sees them, where the size of the file or the pace of the client matters; see test_like_nginx.py for the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conversation import SERVER, Stage, get

from worker.content.static import MOST_HEADS, SMALL

BIG = bytes(range(251)) * 20000  # 5 MB, and no stretch of it is like another of the same alignment


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a small and a big file."""
    directory = tmp_path / "site"
    (directory / "f").mkdir(parents=True)
    for name, content in {"small": b"0123456789", "big": BIG, "edge": b"e" * SMALL}.items():
        (directory / "f" / name).write_bytes(content)
        os.utime(directory / "f" / name, (1_000_000_000, 1_000_000_000))
    return directory


@pytest.fixture
def serve(stage: Callable[..., Stage], site: Path) -> Iterator[Callable[..., Stage]]:
    """A worker whose location /f/ has the files; at the end no file is open that was not before."""
    before = open_files()

    def make(more: str = "", locations: str = "") -> Stage:
        return stage(locations=f'[http.server.location."/f/"]\nroot = "{site}"\n{more}\n{locations}')

    yield make
    assert {path for path in open_files() if path.startswith(str(site))} == set(), before


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found


def file_head(
    size: int, length: int, status: bytes = b"200 OK", last: bytes = b"Accept-Ranges: bytes", kept: bool = True
) -> bytes:
    """The head of a file of ours."""
    lines = [
        b"HTTP/1.1 " + status,
        b"Server: " + SERVER,
        b"Date: now",
        b"Content-Type: text/plain",
        b"Content-Length: %d" % length,
        b"Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT",
        b"Connection: keep-alive" if kept else b"Connection: close",
        b'ETag: "3b9aca00-%x"' % size,
        last,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_a_small_file_goes_out_with_its_head_again_and_again(serve):
    s = serve()
    client = s.client()
    for _ in range(3):
        client.send(get(b"/f/small")).receives(file_head(10, 10) + b"0123456789")
    assert s.statuses() == ["200"] * 3
    assert [line["body_bytes_sent"] for line in s.access_log()] == ["10"] * 3


@pytest.mark.parametrize(("name", "content"), [("edge", b"e" * SMALL), ("big", BIG)])
def test_a_file_of_any_size_arrives_whole_and_the_connection_is_kept(serve, name, content):
    s = serve()
    client = s.client()
    expected = file_head(len(content), len(content)) + content
    client.send(get(b"/f/" + name.encode())).receives(expected)
    client.send(get(b"/f/small")).receives(file_head(10, 10) + b"0123456789")
    first = s.access_log()[0]
    assert first["body_bytes_sent"] == str(len(content))
    assert int(first["bytes_sent"]) > len(content)


def test_a_slow_client_takes_a_big_file_at_its_own_pace(serve):
    s = serve()
    client = s.client(send_buffer=4608)
    client.send(get(b"/f/big"))
    size = 0
    while size < len(BIG):
        if size < len(BIG) // 2:
            assert s.access_log() == []  # the rest waits in the file, nowhere else
        client.pull(size + 500_000)
        assert len(client.received) > size
        size = len(client.received)
        s.settle()
    client.receives(file_head(len(BIG), len(BIG)) + BIG)
    assert s.statuses() == ["200"]


def test_a_client_that_takes_nothing_is_given_up_after_send_timeout(serve):
    s = serve('send_timeout = "5s"')
    client = s.client(send_buffer=4608)
    client.send(get(b"/f/big"))
    s.advance(4)
    assert s.access_log() == []
    s.advance(2)
    assert s.last_access()["status"] == "200"
    assert s.last_access()["wproxy_end_cause"].startswith("client: it did not take the response")
    assert s.last_access()["wproxy_end_code"] == "cl_stalled"


def test_a_client_that_leaves_in_the_middle_leaves_no_file_open(serve, site):
    s = serve()
    client = s.client(send_buffer=4608)
    client.send(get(b"/f/big")).pull(1000)
    assert str(site / "f/big") in open_files()
    client.close()
    assert str(site / "f/big") not in open_files()
    assert int(s.last_access()["body_bytes_sent"]) < len(BIG)


@pytest.mark.parametrize("target", [b"/f/small", b"/f/big"])
def test_head_has_everything_but_the_body_and_opens_nothing_for_long(serve, site, target):
    s = serve()
    size = len(BIG) if target == b"/f/big" else 10
    client = s.client().send(get(target, method=b"HEAD"))
    client.receives(file_head(size, size))
    assert not [path for path in open_files() if path.startswith(str(site))]


def test_a_range_of_a_big_file_is_cut_out_of_it(serve):
    s = serve()
    client = s.client().send(get(b"/f/big", b"Range: bytes=1000000-3999999"))
    head = file_head(len(BIG), 3_000_000, b"206 Partial Content", b"Content-Range: bytes 1000000-3999999/%d" % len(BIG))
    client.receives(head + BIG[1_000_000:4_000_000])


def test_several_ranges_of_a_big_file_are_framed(serve):
    s = serve()
    client = s.client().send(get(b"/f/big", b"Range: bytes=0-99999,-100000"))
    head = client.receives_head()
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0])
    s.until(lambda: len(client.pull_all()) == length, "a body of the length that was told")
    boundary = head.partition(b"boundary=")[2].partition(b"\r")[0]
    empty, first, second, end = bytes(client.received).split(b"\r\n--" + boundary)
    client.received.clear()
    frame = b"\r\nContent-Type: text/plain\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
    assert (empty, end) == (b"", b"--\r\n")
    assert first == frame % (0, 99999, len(BIG)) + BIG[:100_000]
    assert second == frame % (len(BIG) - 100_000, len(BIG) - 1, len(BIG)) + BIG[-100_000:]


def test_a_file_that_is_cut_short_meanwhile_ends_the_connection_and_the_log_says_why(serve, site):
    s = serve()
    client = s.client(send_buffer=4608)
    client.send(get(b"/f/big")).pull(1000)
    os.truncate(site / "f/big", 300_000)
    assert client.is_closed()
    assert len(client.received) < len(BIG)
    client.received.clear()
    assert any('f/big" was truncated at' in line and "[alert]" in line for line in s.error_log())


def test_a_file_that_changes_gets_a_new_head(serve, site):
    s = serve()
    client = s.client()
    client.send(get(b"/f/small")).receives(file_head(10, 10) + b"0123456789")
    (site / "f/small").write_bytes(b"new")
    os.utime(site / "f/small", (1_000_000_000, 1_000_000_000))
    client.send(get(b"/f/small")).receives(file_head(3, 3) + b"new")


def test_the_heads_that_are_kept_are_bounded(serve, site):
    s = serve()
    client = s.client()
    plan = s.configuration.servers[0].locations.prefixes[b"/f/"].files
    plan.heads.update({(number,): None for number in range(MOST_HEADS)})  # type: ignore[misc]
    client.send(get(b"/f/small")).receives(file_head(10, 10) + b"0123456789")
    assert len(plan.heads) == 1


# Nothing above the root.


@pytest.mark.parametrize("target", [b"/i../secret", b"/i..%2fsecret", b"/i.%2e/secret"])
def test_an_alias_without_its_slash_shows_nothing_above_it(serve, site, target):
    (site / "secret").write_bytes(b"secret")
    s = serve(locations=f'[http.server.location."/i"]\nalias = "{site}/f/"')
    client = s.client().send(get(target))
    assert b" 404 " in client.receives_head()
    assert b"<h1>404" in client.take()
    assert any("the path leaves the directory of the location" in line for line in s.error_log())


@pytest.mark.parametrize("argument", [b"../secret", b"x/../../secret", b".."])
def test_try_files_of_an_argument_shows_nothing_above_the_root(serve, site, argument):
    (site / "secret").write_bytes(b"secret")
    s = serve(locations=f'[http.server.location."/t"]\nroot = "{site}/f"\ntry_files = ["/$arg_f", "/$arg_f/", "=410"]')
    client = s.client().send(get(b"/t?f=" + argument))
    assert b" 410 " in client.receives_head()
    client.take()


def test_try_files_of_an_argument_finds_what_is_below(serve, site):
    s = serve(locations=f'[http.server.location."/t"]\nroot = "{site}/f"\ntry_files = ["/$arg_f", "=410"]')
    s.client().send(get(b"/t?f=small")).receives(file_head(10, 10) + b"0123456789")


# Where we do better than nginx.


@pytest.mark.parametrize("last", ["/docs/small", "/docs//docs/small", "/docs/$arg_f"])
def test_the_last_of_try_files_may_be_written_plainly_in_a_location_with_an_alias(serve, site, last):
    locations = f'[http.server.location."/docs/"]\nalias = "{site}/f/"\ntry_files = ["$uri", "{last}"]'
    s = serve(locations=locations)
    if last != "/docs//docs/small":  # constants are not cut: that one names what is not there, and goes round in circles
        s.client().send(get(b"/docs/nope?f=small")).receives(file_head(10, 10) + b"0123456789")
    else:
        assert b" 500 " in s.client().send(get(b"/docs/nope")).receives_head()
