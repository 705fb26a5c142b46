"""A production build of Next.js: assets from the front, pages that are streamed, actions of forms, pages made again in time."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import KEPT, Program, needed, node
from bench.ports import free_port

HERE = Path(__file__).parent
SITE = KEPT / "nextjs"
LATE = 1.5  # seconds after the first part, says the page


@pytest.fixture(scope="module")
def gallery(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    needed(SITE / ".next" / "BUILD_ID")
    port = free_port()
    words = [node(), SITE / "node_modules/next/dist/bin/next", "start", "-H", "127.0.0.1", "-p", str(port)]
    environment = {"NEXT_TELEMETRY_DISABLED": "1", "NODE_ENV": "production"}
    run(Program("next", words, directory, port, environment, SITE))
    return fronts(HERE / "nginx.conf", NEXT=port, SITE=SITE)


def test_every_asset_of_a_page_comes_from_the_front_and_may_be_kept(gallery):
    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        page = browser.get("/")
        paths = sorted(set(re.findall(r'/_next/static/[^"\\]+', page.body.decode())))
        return [page, paths, [browser.get(path, Accept_Encoding="gzip").without_body() for path in paths]]

    page, paths, assets = gallery.compare(flow)
    assert (page.status, b"A page made at build time" in page.body) == (200, True)
    assert len(paths) > 4
    assert {path.rpartition(".")[2] for path in paths} >= {"js", "css"}
    for path, asset in zip(paths, assets, strict=True):
        kind = {"js": "application/javascript", "css": "text/css"}.get(path.rpartition(".")[2], asset["content-type"])
        assert (asset.status, asset["content-type"]) == (200, kind), path
        assert asset["cache-control"] == "public, max-age=31536000, immutable"


def test_an_asset_that_has_not_changed_is_not_sent_again(gallery):
    def flow(front: Front) -> Answer:
        browser = Browser(front)
        path = re.findall(r'/_next/static/[^"\\]+\.js', browser.get("/").body.decode())[0]
        return browser.get(path, If_None_Match=str(browser.get(path)["etag"]))

    assert gallery.compare(flow).status == 304


@pytest.mark.parametrize(
    "path, status", [("/robots.txt", 200), ("/items/1", 200), ("/nothing", 404), ("/_next/static/nothing.js", 404)]
)
def test_pages_and_files_are_answered_alike(gallery, path, status):
    assert gallery.compare(lambda front: Browser(front).get(path)).status == status


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_the_first_part_of_a_page_is_there_before_the_late_one(gallery, coding):
    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        browser.cookies["visitor"] = "v1"
        with browser.stream("/slow", X_Forwarded_For="203.0.113.9", Accept_Encoding=coding) as stream:
            pieces = stream.pieces()
        body = b"".join(piece for _, piece in pieces)
        waited = pieces[-1][0] - pieces[0][0]
        return [stream.status, stream.fields, re.findall(rb"FIRST[^<]*", body)[:1], b"LATE" in body, waited > LATE / 3]

    status, fields, first, is_whole, has_waited = gallery.compare(flow)
    assert (status, has_waited, dict(fields).get("content-encoding")) == (200, True, "gzip" if coding == "gzip" else None)
    if coding == "identity":
        assert (first, is_whole) == ([b"FIRST for 127.0.0.1:PORT, 203.0.113.9, 127.0.0.1, http, v1."], True)


def test_each_event_of_a_handler_comes_when_it_is_sent(gallery):
    def flow(front: Front) -> list[object]:
        browser, gate = Browser(front), f"{front.port}-{time.time_ns()}"
        with browser.stream(f"/api/stream?gate={gate}") as stream:
            seen = []
            for number in range(4):
                seen.append(stream.until(b"data: %d\n\n" % number))
                assert browser.request("POST", f"/api/stream?gate={gate}-{number}").status == 204
            return [stream.fields, seen, stream.rest()]

    _, seen, rest = gallery.compare(flow)
    assert (seen, rest) == ([b"data: %d\n\n" % number for number in range(4)], b"")


def test_a_form_is_saved_without_javascript(gallery):
    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        page = browser.get("/form").body.decode()
        hidden = re.findall(r'<input type="hidden" name="([^"]+)"(?: value="([^"]*)")?', page)
        parts = {name: value.encode() for name, value in hidden} | {"name": b"Ada"}
        foreign = browser.upload("/form", parts, ("", "", b""), {"Origin": "http://evil.example"})
        saved = browser.upload("/form", parts, ("", "", b""), {"Origin": front.url})
        return [
            re.findall("Hello [^<]*", page),
            foreign.status,
            saved,
            re.findall(rb"Hello [^<]*", browser.get("/form").body)[:1],
        ]

    before, foreign, saved, after = gallery.compare(flow)
    assert (before[0], foreign) == ("Hello stranger.", 500)
    assert (saved.status, saved["location"], saved["set-cookie"]) == (303, "/form", "name=Ada; Path=/")
    assert after == [b"Hello Ada."]


def test_a_file_reaches_a_handler(gallery):
    content = os.urandom(2_000_000)
    answer = gallery.compare(lambda front: Browser(front).upload("/api/echo", {"from": b"me"}, ("file", "photo.bin", content)))
    assert json.loads(answer.body) == {"name": "photo.bin", "size": len(content), "from": "me"}
    assert answer["set-cookie"] == "visitor=v1; Path=/; HttpOnly"


def test_what_the_router_asks_for_is_answered_alike(gallery):
    """A payload of React for a page that the browser has in part, whose address has a hash of the request, and a redirect."""

    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        corrected = browser.get("/slow?_rsc=x", RSC="1")
        with browser.stream(str(corrected["location"]), RSC="1") as payload:
            kinds = [payload.status, payload.fields, b"LATE" in payload.rest()]
        return [corrected, kinds, browser.get("/away").without_body(), browser.get("/api/echo?x=1")]

    corrected, (status, fields, is_whole), away, echo = gallery.compare(flow)
    assert (corrected.status, corrected["location"]) == (307, "/slow?_rsc")
    assert (status, dict(fields)["content-type"], is_whole) == (200, "text/x-component", True)
    assert (away.status, away["location"]) == (307, "/form")
    assert json.loads(echo.body)["host"] == "127.0.0.1:PORT"


def test_a_page_is_made_once_and_kept_for_its_time(gallery):
    def flow(front: Front) -> list[Answer]:
        path = f"/items/{front.port}-{time.time_ns()}"
        return [Browser(front).get(path) for _ in range(2)]

    masks = {r"PORT-\d{19}": "ITEM", r'"[0-9a-z]{10,}"': "ETAG"}
    first, again = gallery.compare(flow, masks)
    assert [answer["x-nextjs-cache"] for answer in (first, again)] == ["MISS", "HIT"]
    assert "s-maxage=60" in str(again["cache-control"])
    assert b"item ITEM" in again.body


def test_an_image_that_is_none_is_refused_alike(gallery):
    assert gallery.compare(lambda front: Browser(front).get("/_next/image?url=%2Frobots.txt&w=64&q=75")).status == 400
