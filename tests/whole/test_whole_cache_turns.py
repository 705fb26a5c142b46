"""Who waits and who does not when several clients want one key, step by step beside the real nginx."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from as_nginx import REAL_NGINX, Nginx
from harness import PATIENCE, Program, until
from recorder import Conversation, Received, Recorder
from wire import Wire, request_bytes

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(not os.path.exists(REAL_NGINX), reason="the real nginx is not installed"),
]

TEXT = """
events {}
http {
    access_log off; client_body_temp_path {here}/t1; proxy_temp_path {here}/t2;
    fastcgi_temp_path {here}/t3; uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
    proxy_cache_path {here}/cache keys_zone=z:1m use_temp_path=off;
    server {
        listen 127.0.0.1:{port};
        proxy_cache z; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_headers on;
        add_header X-Cache $upstream_cache_status;
        location /plain { proxy_pass http://BACK; }
        location /lock { proxy_pass http://BACK; proxy_cache_lock on; }
        location /short { proxy_pass http://BACK; proxy_cache_lock on; proxy_cache_lock_timeout 100ms; }
        location /young { proxy_pass http://BACK; proxy_cache_lock on; proxy_cache_lock_age 100ms; }
        location /stale { proxy_pass http://BACK; proxy_cache_use_stale updating http_500; proxy_cache_lock on; }
        location /update {
            proxy_pass http://BACK; proxy_cache_use_stale updating http_500; proxy_cache_background_update on; proxy_cache_revalidate on;
        }
        location /window { proxy_pass http://BACK; proxy_cache_background_update on; }
    }
}
"""
LATER, AT_ONCE = "Cache-Control: max-age=600", "X-Accel-Expires: @1"
WHILE_UPDATING = "Cache-Control: stale-while-revalidate=9000000000"


class Play:
    """Clients of one server, and the upstream behind it, which answers when it is told to."""

    def __init__(self, port: int, upstream: Recorder) -> None:
        self._port = port
        self._upstream = upstream
        self._wires: list[Wire] = []
        self._asked: queue.Queue[queue.Queue[bytes]] = queue.Queue()
        self.arrived = 0
        upstream.reply = self._reply

    def _reply(self, conversation: Conversation, received: Received) -> None:
        turn: queue.Queue[bytes] = queue.Queue()
        self._asked.put(turn)
        conversation.send(turn.get(timeout=PATIENCE))

    def ask(self, target: str, method: str = "GET") -> Callable[[], str]:
        """Send a request; what is returned reads the answer: its cache status and its body."""
        wire = Wire(self._port)
        self._wires.append(wire)
        wire.send(request_bytes(method, target, (), None, "h", "HTTP/1.1"))

        def read() -> str:
            answer = wire.answer(method)
            return f"{answer.status} {answer['x-cache']} {answer.body.decode() if answer.status == 200 else ''}".strip()

        return read

    def upstream(self) -> Callable[..., None]:
        """Wait until the upstream is asked; what is returned answers."""
        turn = self._asked.get(timeout=PATIENCE)
        self.arrived += 1

        def answer(body: str = "", *fields: str, status: str = "200 OK") -> None:
            length = "" if status.startswith("304") else f"Content-Length: {len(body)}\r\n"
            text = f"HTTP/1.1 {status}\r\n{length}{''.join(f'{field}{chr(13)}{chr(10)}' for field in fields)}\r\n{body}"
            turn.put(text.encode())

        return answer

    def leave(self) -> None:
        """The client that asked last goes away."""
        self._wires.pop().close()

    def settles(self, target: str) -> str:
        """The first answer about this target that is no longer that of a stored response which is being updated."""
        return until(lambda: found if "HIT" in (found := self.ask(target)()) else "", f"a HIT of {target}")

    def close(self) -> None:
        for wire in self._wires:
            wire.close()


def stored(play: Play, target: str, *fields: str) -> str:
    """Have an old response stored."""
    read = play.ask(target)
    play.upstream()("old", *fields)
    return read()


def without_a_lock_all_go(play: Play) -> list[str]:
    one, other = play.ask("/plain"), play.ask("/plain")
    for answer in (play.upstream(), play.upstream()):
        answer("new", LATER)
    return [*sorted([one(), other()]), play.ask("/plain")()]


def with_a_lock_one_goes(play: Play) -> list[str]:
    one = play.ask("/lock/a")
    answer = play.upstream()
    others = [play.ask("/lock/a"), play.ask("/lock/a", "HEAD")]
    elsewhere = play.ask("/lock/b")
    play.upstream()("else", LATER)
    found = [elsewhere()]
    answer("new", LATER)
    return [*found, one(), *(other() for other in others)]


def when_it_cannot_be_stored_they_go_too(play: Play) -> list[str]:
    one = play.ask("/lock/c")
    answer = play.upstream()
    other = play.ask("/lock/c")
    answer("one", "Cache-Control: no-store")
    found = [one()]
    play.upstream()("other", LATER)
    return [*found, other(), play.ask("/lock/c")()]


def a_wait_ends_with_the_timeout(play: Play) -> list[str]:
    one = play.ask("/short")
    answer = play.upstream()
    other = play.ask("/short")
    play.upstream()("other", LATER)
    found = [other()]
    answer("one", LATER)
    return [*found, one(), play.ask("/short")()]


def an_old_lock_lets_the_next_one_go(play: Play) -> list[str]:
    one = play.ask("/young")
    answer = play.upstream()
    other = play.ask("/young")
    play.upstream()("other", LATER)
    found = [other(), play.ask("/young")()]
    answer("one", LATER)
    return [*found, one()]


def one_updates_and_the_others_do_not_wait(play: Play) -> list[str]:
    found = [stored(play, "/stale/a", AT_ONCE)]
    one = play.ask("/stale/a")
    answer = play.upstream()
    found.append(play.ask("/stale/a")())
    answer("new", LATER)
    return [*found, one(), play.ask("/stale/a")()]


def when_it_fails_the_next_one_updates(play: Play) -> list[str]:
    found = [stored(play, "/stale/b", AT_ONCE)]
    one = play.ask("/stale/b")
    answer = play.upstream()
    found.append(play.ask("/stale/b")())
    answer("failed", status="500 Oh")
    found.append(one())
    one = play.ask("/stale/b")
    play.upstream()("new", LATER)
    return [*found, one()]


def without_use_stale_all_update(play: Play) -> list[str]:
    found = [stored(play, "/plain/a", AT_ONCE)]
    one, other = play.ask("/plain/a"), play.ask("/plain/a")
    for answer in (play.upstream(), play.upstream()):
        answer("new", LATER)
    return [*found, one(), other(), play.ask("/plain/a")()]


def updates_in_the_background_hold_nobody_up(play: Play) -> list[str]:
    found = [stored(play, "/update/a", AT_ONCE), play.ask("/update/a")()]
    answer = play.upstream()
    found += [play.ask("/update/a")(), play.ask("/update/a", "HEAD")()]
    answer("new", LATER)
    return [*found, play.settles("/update/a")]


def they_confirm_what_is_stored(play: Play) -> list[str]:
    found = [stored(play, "/update/b", AT_ONCE, 'ETag: "e"'), play.ask("/update/b")()]
    play.upstream()("", LATER, status="304 Not Modified")
    return [*found, play.settles("/update/b")]


def they_fail_and_begin_again(play: Play) -> list[str]:
    found = [stored(play, "/update/c", AT_ONCE), play.ask("/update/c")()]
    play.upstream()("failed", status="500 Oh")
    found.append(until(lambda: said if "STALE" in (said := play.ask("/update/c")()) else "", "another update"))
    play.upstream()("new", LATER)
    return [*found, play.settles("/update/c")]


def their_client_may_leave(play: Play) -> list[str]:
    found = [stored(play, "/update/d", AT_ONCE), play.ask("/update/d")()]
    answer = play.upstream()
    play.leave()
    answer("new", LATER)
    return [*found, play.settles("/update/d")]


def the_upstream_allows_it_too(play: Play) -> list[str]:
    found = [stored(play, "/window", WHILE_UPDATING, AT_ONCE), play.ask("/window")()]
    answer = play.upstream()
    found.append(play.ask("/window")())
    answer("new", LATER)
    return [*found, play.settles("/window")]


SCENES = [
    without_a_lock_all_go, with_a_lock_one_goes, when_it_cannot_be_stored_they_go_too, a_wait_ends_with_the_timeout,
    an_old_lock_lets_the_next_one_go, one_updates_and_the_others_do_not_wait, when_it_fails_the_next_one_updates,
    without_use_stale_all_update, updates_in_the_background_hold_nobody_up, they_confirm_what_is_stored, they_fail_and_begin_again,
    their_client_may_leave, the_upstream_allows_it_too,
]  # fmt: skip


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Play, Play]]:
    """Before the real nginx, and before wproxy under its name."""
    directory: Path = tmp_path_factory.mktemp("turns")
    directory.chmod(0o755)
    with Recorder() as one, Recorder() as other:
        fronts = [
            Nginx(directory / name, TEXT.replace("BACK", f"127.0.0.1:{upstream.port}"))
            for name, upstream in (("theirs", one), ("ours", other))
        ]
        theirs, ours = fronts
        command = [REAL_NGINX, *theirs.words(main=f"{theirs.main} daemon off; worker_processes 1;")]
        nginx = Program(command, theirs.directory, cwd=theirs.directory)
        made = Play(theirs.port, one), Play(ours.port, other)
        try:
            nginx.wait_for_address(theirs.port)
            with ours.in_foreground("worker_processes 1;"):
                yield made
        finally:
            nginx.end()
            for play in made:
                play.close()


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_everybody_gets_what_nginx_would_send(plays: tuple[Play, Play], scene: Callable[[Play], list[str]]):
    before = [play.arrived for play in plays]
    theirs, ours = (scene(play) for play in plays)
    assert ours == theirs
    assert plays[1].arrived - before[1] == plays[0].arrived - before[0]
