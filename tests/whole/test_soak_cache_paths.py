"""The parameters of proxy_cache_path beside the real nginx, by `make soak`: its manager looks every ten seconds, its loader after a minute.

Both fill their caches with the same responses; then the files are counted while nobody asks for them, but for one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from as_nginx import REAL_NGINX, Nginx
from harness import Program, until
from recorder import Recorder
from wire import Wire

pytestmark = [
    pytest.mark.whole,
    pytest.mark.soak,
    pytest.mark.skipif(not os.path.exists(REAL_NGINX), reason="the real nginx is not installed"),
]

COUNT = 40
# The parameters of each zone, and how many files there are in the end: wproxy fills max_size, nginx stays just below it.
ZONES: dict[str, tuple[str, tuple[int, ...]]] = {
    "idle": ("inactive=1s", (0,)),
    "used": ("inactive=4s", (1,)),
    "limited": ("max_size=100k", (24, 25)),
    "nothing": ("max_size=0", (0,)),
    "crowded": ("min_free=900000g", (0,)),
    "paced": ("inactive=1s manager_files=3 manager_sleep=300ms", (0,)),
    "short": ("inactive=1s manager_threshold=1ms manager_sleep=1ms", (0,)),
    "three": ("levels=2:2:1", (COUNT,)),
    "flat": ("levels=", (COUNT,)),
    "slow": ("levels=1 loader_files=10 loader_sleep=500ms", (COUNT,)),
    "small": ("keys_zone=small:12k", tuple(range(10, COUNT + 1))),  # nginx has room for 27 keys there
}
TEXT = f"""
events {{}}
error_log {{here}}/error.log notice;
http {{
    access_log off; client_body_temp_path {{here}}/t1; proxy_temp_path {{here}}/t2;
    fastcgi_temp_path {{here}}/t3; uwsgi_temp_path {{here}}/t4; scgi_temp_path {{here}}/t5;
    {" ".join(f"proxy_cache_path {{here}}/{name} keys_zone={name}:1m {words};" for name, (words, _) in ZONES.items())}
    server {{
        listen 127.0.0.1:{{port}};
        proxy_cache_key $uri; proxy_cache_valid 1h; proxy_http_version 1.1; proxy_set_header Connection "";
        add_header X-Cache $upstream_cache_status;
        {" ".join(f"location /{name}/ {{ proxy_pass http://BACK; proxy_cache {name}; }}" for name in ZONES)}
    }}
}}
""".replace("keys_zone=small:1m keys_zone=small:12k", "keys_zone=small:12k")


class Front:
    """One of the two servers."""

    def __init__(self, site: Nginx, command: list[str]) -> None:
        self.site = site
        self.command = command

    def run(self) -> Program:
        program = Program(self.command, self.site.directory, cwd=self.site.directory)
        program.wait_for_address(self.site.port)
        return program

    def files(self, name: str) -> list[Path]:
        return [path for path in (self.site.directory / name).rglob("*") if path.is_file()]

    def count(self) -> dict[str, int]:
        return {name: len(self.files(name)) for name in ZONES}

    def asks(self, target: str) -> str:
        with Wire(self.site.port) as wire:
            return wire.request("GET", target)["x-cache"] or ""


@pytest.fixture
def fronts(tmp_path: Path, recorder: Recorder) -> Iterator[tuple[Front, Front]]:
    tmp_path.chmod(0o755)
    text = TEXT.replace("BACK", f"127.0.0.1:{recorder.port}")
    theirs, ours = (Nginx(tmp_path / name, text) for name in ("theirs", "ours"))
    main = "daemon off; worker_processes 1;"
    yield tuple(
        Front(site, [str(program), *site.words(main=f"{site.main} {main}")])
        for site, program in ((theirs, REAL_NGINX), (ours, ours.link))
    )  # type: ignore[misc]


def falls(front: Front, name: str, counts: list[tuple[float, dict[str, int]]]) -> float:
    """The seconds from the first file of a zone that goes to the last."""
    times = [at for at, count in counts if 0 < count[name] < COUNT]
    return times[-1] - times[0] if times else 0.0


def logged(front: Front, text: str) -> float:
    """The second of the line with this text."""
    line = next(line for line in front.site.errors.splitlines() if text in line)
    return datetime.strptime(line[:19], "%Y/%m/%d %H:%M:%S").timestamp()


def test_manager_and_loader_do_what_those_of_nginx_do(fronts: tuple[Front, Front]):
    with ExitStack() as stack:
        for front in fronts:
            stack.callback(front.run().end)
        for front in fronts:
            with Wire(front.site.port) as wire:
                for name in ZONES:
                    assert {wire.request("GET", f"/{name}/{number}")["x-cache"] for number in range(COUNT)} == {"MISS"}
        counts: dict[Front, list[tuple[float, dict[str, int]]]] = {front: [] for front in fronts}
        began = time.monotonic()

        def settled() -> bool:
            time.sleep(0.1)  # a count takes a while
            for front in fronts:
                assert front.asks("/used/0") == "HIT"
                counts[front].append((time.monotonic() - began, front.count()))
            return all(counts[front][-1][1][name] in wanted for front in fronts for name, (_, wanted) in ZONES.items())

        until(settled, lambda: f"{[counts[front][-1][1] for front in fronts]}", 40)
        for front in fronts:
            # 40 files by three, with 0.3 seconds after each three.
            assert 2.5 < falls(front, "paced", counts[front]) < 12, counts[front]
            assert falls(front, "idle", counts[front]) < 2.5, "a hundred at a time"
        for name in ("three", "flat", "slow"):
            theirs, ours = ({path.relative_to(front.site.directory) for path in front.files(name)} for front in fronts)
            assert theirs == ours
    for front in fronts:
        front.site.log.write_text("")
        (broken, empty, *_), foreign = front.files("flat"), front.site.directory / "flat" / "README"
        broken.write_bytes(broken.read_bytes()[:100])
        empty.write_bytes(b"")
        foreign.write_text("not a response")
        foreign.chmod(0o666)
    with ExitStack() as stack:
        for front in fronts:
            stack.callback(front.run().end)
        for front, patience in zip(reversed(fronts), (20, 100), strict=True):
            until(lambda: front.site.errors.count("http file cache: ") == len(ZONES), lambda: front.site.errors, patience)
            took = logged(front, "/slow 0.156M") - logged(front, "/flat 0.1")
            assert 1 <= took < 15, "ten files at a time, and half a second after each ten"
            assert front.site.errors.count('" is too small') == (2 if front is fronts[1] else 3)
            assert len(front.files("flat")) == COUNT - 2 + (front is fronts[1]), "what is not ours stays"
            for name in ("three", "flat", "slow"):
                asked = [front.asks(f"/{name}/{number}") for number in range(COUNT)]
                assert asked.count("HIT") == COUNT - 2 * (name == "flat")
