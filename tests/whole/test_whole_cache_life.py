"""A cache through the life of its server: upgrades, reloads with another zone, one process for everything, killed loaders, full zones."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from harness import Wproxy, until
from recorder import Recorder
from test_whole_cache_processes import beside, fill
from test_whole_upgrade import Daemon
from wire import Wire

pytestmark = pytest.mark.whole

HTTP = """
proxy_cache_path = [["cache", "levels=1:2", "keys_zone=one:SIZE"]]

[[http.server]]
listen = "127.0.0.1:{port}"
proxy_cache = "one"
proxy_cache_key = "$uri"
proxy_cache_valid = [["200", "1h"]]
add_header = [["X-Cache", "$upstream_cache_status"]]
location."/" = { proxy_pass = "URL" }
"""


def asked(port: int, *targets: str) -> str:
    """The cache's words about some requests over one connection, each of which is answered right."""
    with Wire(port) as wire:
        answers = [wire.request("GET", target) for target in targets]
    assert {answer.body for answer in answers} == {b"ok"}
    return " ".join(answer["x-cache"] or "-" for answer in answers)


def stat(front: Wproxy) -> dict:
    with Wire(str(front.directory / "run/wproxy-api.sock")) as wire:
        return wire.request("GET", "/api/9/http/caches/one").json


def files(front: Wproxy) -> list[Path]:
    return [path for path in (front.directory / "cache").rglob("*") if path.is_file()]


def loaded(front: Wproxy) -> bool:
    """Whether every file has its entry."""
    return not stat(front)["cold"]


def test_a_warm_cache_survives_an_upgrade_and_other_sizes_of_its_zone(tmp_path: Path, recorder: Recorder):
    http = HTTP.replace("URL", recorder.url)
    front = Daemon(tmp_path / "front", http.replace("SIZE", "1m"))
    front.start()
    try:
        until(lambda: loaded(front), "an empty cache is loaded at once")
        assert asked(front.port, "/1", "/2", "/3", "/1") == "MISS MISS MISS HIT"
        front.upgrade()
        assert asked(front.port, "/1", "/2", "/3") == "HIT HIT HIT"
        assert stat(front)["hit"]["responses"] == 4, "the counts go on"
        assert front.error_log.count("start cache loader process") == 1, "and so does the index"

        assert front.reload(http.replace("SIZE", "2m")).code == 0
        assert asked(front.port, "/1", "/2", "/4") == "HIT HIT MISS"
        until(lambda: loaded(front), "the new index knows all files")
        assert (stat(front)["size"], len(files(front))) == (4 * 4096, 4)

        # The first index does not know of the file that came meanwhile.
        assert front.reload(http.replace("SIZE", "1m")).code == 0
        assert asked(front.port, "/4", "/3") == "HIT HIT"
        until(lambda: loaded(front), "it has looked for it")
        assert stat(front)["size"] == 4 * 4096
        assert front.error_log.count("start cache loader process") == 3
        assert len(recorder.heads) == 4
    finally:
        errors = front.end()
    assert "Traceback" not in errors and "[alert]" not in errors, errors


def test_one_process_does_the_work_of_manager_and_loader(start, tmp_path: Path, recorder: Recorder):
    fill(tmp_path / "wproxy0" / "cache", 30)
    http = HTTP.replace("URL", recorder.url).replace('SIZE"', '1m", "max_size=80k"')
    front = start(http, main="master_process = false", workers=0)
    front.error_logged("http file cache: ")
    until(lambda: len(files(front)) == 20, lambda: f"20 files, not {len(files(front))}")
    assert front.master.children() == []
    assert asked(front.port, "/new", "/new") == "MISS HIT"
    assert front.reload(http.replace("80k", "40k")).code == 0
    until(lambda: len(files(front)) == 10, lambda: f"10 files, not {len(files(front))}")
    assert asked(front.port, "/new") == "HIT"


def test_a_loader_that_is_killed_begins_again(start, tmp_path: Path, recorder: Recorder):
    fill(tmp_path / "wproxy0" / "cache", 30)
    http = HTTP.replace("URL", recorder.url).replace('SIZE"', '1m", "loader_files=1", "loader_sleep=20ms"')
    front = start(http)
    (loader,) = until(lambda: beside(front, "loader"), "the loader at work")
    loader.send_signal(signal.SIGKILL)
    front.error_logged(f"cache loader process {loader.pid} exited on signal 9")
    front.error_logged("http file cache: ")
    shown = stat(front)
    assert (shown["size"], shown["cold"]) == (30 * 4096, False)
    until(lambda: not beside(front, "loader"), "it has done its work")


def test_a_full_zone_says_so_once_and_goes_on(start, recorder: Recorder):
    front = start(HTTP.replace("URL", recorder.url).replace("SIZE", "32k"), workers=1)
    names = [f"/{number}" for number in range(500)]
    assert set(asked(front.port, *names).split()) == {"MISS"}
    front.error_logged('keys_zone "one" is full')
    assert front.error_log.count("is full") == 1
    kept = len(files(front))
    assert 50 < kept < 400
    assert stat(front)["size"] == kept * 4096
    assert "HIT" in asked(front.port, *names[-20:])
