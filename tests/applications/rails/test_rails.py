"""Rails on two pumas with Action Cable over Redis: forms with their tokens, files that the front sends, live events, a room."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import KEPT, PATIENCE, Program, needed, node
from bench.ports import free_port

HERE = Path(__file__).parent
REPORT = bytes(range(256)) * 400
MASKS = {r"(?<=_gallery=)[^;]+": "SESSION", r"(?<=name=)[^;]{20,}": "NAME", r'"[0-9a-f]{32}"': "ETAG"}


@pytest.fixture(scope="module")
def gallery(directory: Path, redis: int, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    site, storage = directory / "site", directory / "storage"
    shutil.copytree(HERE / "site", site)
    style = next((site / "public" / "assets").glob("*.css"))
    style.with_suffix(".css.gz").write_bytes(gzip.compress(style.read_bytes(), mtime=0))
    storage.mkdir()
    (storage / "report.bin").write_bytes(REPORT)
    ports = {"PUMA_A": free_port(), "PUMA_B": free_port()}
    for name, port in ports.items():
        environment = {"NAME": name, "PORT": str(port), "REDIS": str(redis), "STORAGE": str(storage)}
        run(Program(name, [needed("puma"), "-C", "puma.rb", "config.ru"], directory, port, environment, site))
    # Debian's nginx has gzip_static.
    return fronts(HERE / "nginx.conf", old=True, SITE=site, STORAGE=storage, **ports)


def token(page: Answer, pattern: str) -> str:
    """Return the token that Rails has put into a page."""
    found = re.search(pattern.encode() + rb'="([^"]+)"', page.body)
    assert found, page
    return found[1].decode()


def log_in(browser: Browser, name: str) -> Answer:
    form = {"name": name, "authenticity_token": token(browser.get("/"), 'name="authenticity_token" value')}
    return browser.post("/login", form, {"Origin": browser.front.url})


def test_a_form_is_taken_with_its_token_and_from_this_site_only(gallery):
    def flow(front: Front) -> dict[str, object]:
        browser = Browser(front)
        form = {"name": "ann", "authenticity_token": token(browser.get("/"), 'name="authenticity_token" value')}
        return {
            "no token": browser.post("/login", {"name": "ann"}, {"Origin": front.url}),
            "foreign": browser.post("/login", form, {"Origin": "http://evil.example"}).status,
            "right": browser.post("/login", form, {"Origin": front.url}),
            "after": re.findall(rb"<h1>(.*)</h1>", browser.get("/").body),
            "later": re.findall(rb"<h1>(.*)</h1>", browser.get("/").body),
        }

    seen = gallery.compare(flow, MASKS)
    assert (seen["no token"].status, seen["foreign"]) == (422, 422)
    assert (seen["right"].status, seen["right"]["location"]) == (303, "http://127.0.0.1:PORT/seen")
    assert "name=NAME; path=/; HttpOnly; SameSite=Lax" in str(seen["right"]["set-cookie"])
    assert (seen["after"], seen["later"]) == ([b"Visit 1 of ann"], [b"Visit 2 of ann"])


def test_rails_knows_where_it_stands(gallery):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        return [browser.get("/seen", X_Forwarded_For="203.0.113.9"), browser.get("/old")]

    seen, old = gallery.compare(flow, MASKS)
    assert json.loads(seen.body) == {"url": "http://127.0.0.1:PORT/seen", "remote_ip": "203.0.113.9", "ssl": False}
    assert (old.status, old["location"]) == (301, "http://127.0.0.1:PORT/seen")


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_asset_is_sent_as_it_was_compressed(gallery, coding):
    def flow(front: Front) -> Answer:
        answer = Browser(front).get("/assets/gallery-5d41402a.css", Accept_Encoding=coding)
        # Since nginx 1.23.4, which Debian's is older than, a compressed file may be asked for in parts, too.
        return Answer(answer.status, [field for field in answer.fields if field != ("accept-ranges", "bytes")], answer.body)

    answer = gallery.compare(flow)
    style = (HERE / "site" / "public" / "assets" / "gallery-5d41402a.css").read_bytes()
    assert (answer.status, answer["content-type"], answer["vary"]) == (200, "text/css", "Accept-Encoding")
    assert answer.body == (gzip.compress(style, mtime=0) if coding == "gzip" else style)
    assert answer["cache-control"] == "max-age=315360000, public"


@pytest.mark.parametrize(
    "path, status, page",
    [
        ("/robots.txt", 200, "robots.txt"),
        ("/assets/none.css", 404, "404.html"),
        ("/private/report.bin", 404, "404.html"),
        ("/none", 404, "404.html"),
        ("/fail", 500, "500.html"),
    ],
)
def test_files_and_errors_are_answered_with_the_pages_of_the_site(gallery, path, status, page):
    def flow(front: Front) -> list[Answer]:
        return [
            Browser(front).request(method, path).without_body() if method == "HEAD" else Browser(front).get(path)
            for method in ("GET", "HEAD")
        ]

    whole, head = gallery.compare(flow)
    assert (whole.status, whole.body) == (status, (HERE / "site" / "public" / page).read_bytes())
    assert head.status == status


def test_an_upload_arrives_whole(gallery):
    content = os.urandom(3 << 20)

    def flow(front: Front) -> Answer:
        browser = Browser(front)
        page = browser.get("/")
        fields = {"X-CSRF-Token": token(page, 'name="csrf-token" content'), "Origin": front.url}
        return browser.upload("/upload", {}, ("file", "photo.bin", content), fields)

    answer = gallery.compare(flow, MASKS)
    digest = hashlib.sha256(content).hexdigest()
    assert (answer.status, json.loads(answer.body)) == (200, {"name": "photo.bin", "size": len(content), "sha256": digest})


def test_a_file_that_rails_names_is_sent_by_the_front(gallery):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        return [browser.get("/report"), browser.get("/report", Range="bytes=-5")]

    whole, part = gallery.compare(flow)
    assert (whole.status, whole.body) == (200, REPORT)
    assert str(whole["content-disposition"]).startswith('attachment; filename="report.bin"')
    assert (part.status, part.body) == (206, REPORT[-5:])


def test_live_events_come_one_by_one(gallery, directory):
    def flow(front: Front) -> list[object]:
        gate = directory / f"gate-{front.name}"
        gate.mkdir()
        with Browser(front).stream(f"/events?gate={gate}") as stream:
            seen = [stream.until(b"data: 0\n\n")]
            for number in range(1, 4):
                (gate / str(number)).touch()
                seen.append(stream.until(b"data: %d\n\n" % number))
            return [stream.fields, seen, stream.rest()]

    _, seen, rest = gallery.compare(flow)
    assert (seen, rest) == ([b"data: %d\n\n" % number for number in range(4)], b"")


def test_a_room_is_one_over_both_pumas_and_knows_who_is_logged_in(gallery):
    environment = {**os.environ, "NODE_PATH": needed(KEPT / "rails" / "node_modules")}

    def flow(front: Front) -> object:
        browser = Browser(front)
        log_in(browser, "ann")
        words = [node(), str(HERE / "client.js"), front.url, browser.cookie_field()["Cookie"]]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    heard = [f"{number}: {text}" for number in range(3) for text in ("by a request", "hé")]
    assert gallery.compare(flow) == {
        "hellos": ["ann", "ann", "ann"],
        "nodes": ["PUMA_A", "PUMA_B"],
        "heard": heard,
        "pings": 3,
        "status": 204,
    }


def test_a_cable_from_a_page_of_another_site_is_refused(gallery):
    fields = [
        "Host: gallery",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Origin: http://evil.example",
    ]
    data = "\r\n".join(["GET /cable HTTP/1.1", *fields, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]).encode()
    assert gallery.compare(lambda front: Browser(front).status_line(data)) == b"HTTP/1.1 404 Not Found"
