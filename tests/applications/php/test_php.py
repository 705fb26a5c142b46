"""PHP under PHP-FPM: plain programs by the page of nginx's manual, and Laravel by its own page on deployment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import until
from wproxy.config.document import SHIPPED_DIRECTORY

HERE = Path(__file__).parent
CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
# What a front says of itself, and of its own files.
MASKS = {r"nginx/[\d.]+": "nginx/VERSION", r"(?<=CSRF_)\w+": "TOKEN"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def site(directory: Path, fpm: Path, fronts: Callable[..., Fronts]) -> Fronts:
    (directory / "protected").mkdir()
    (directory / "protected" / "secret.bin").write_bytes(CONTENT)
    laravel = directory / "laravel"
    shutil.copytree(HERE / "laravel", laravel)
    for name in ("app/up", "framework/cache/data", "framework/sessions", "framework/views", "logs"):
        (laravel / "storage" / name).mkdir(parents=True)
    (laravel / "database").mkdir()
    (laravel / "database" / "db.sqlite").touch()
    (laravel / "bootstrap" / "cache").mkdir()
    (laravel / "composer.json").write_text("{}")
    (laravel / "public" / "robots.txt").write_text("User-agent: *\n")
    words = {"SOCKET": fpm, "PLAIN": HERE / "plain", "PROTECTED": directory / "protected", "LARAVEL": laravel}
    return fronts(HERE / "nginx.conf", SHIPPED=SHIPPED_DIRECTORY, **words)


def said(front: Front) -> list[str]:
    """The lines of the error log about requests, in what nginx and wproxy have in common."""
    return re.findall(r"\[(?:error|warn)\] \S+ \*\d+ (.*?), client: ", front.errors, re.DOTALL)


def each(front: Front, paths: list[str], method: str = "GET", **fields: str) -> list[Answer]:
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    return [Browser(front).request(method, path, None, names) for path in paths]


PATHS = [
    "/", "/index.php", "/index.php?a=1&b=%20x", "/index.php/path/info?y=2", "/index.php/", "/a/pretty/path?x=1",
    "/index.php/%C3%A9/%41", "/kept/x?y", "/unbuffered/z",
]  # fmt: skip


def test_a_program_sees_the_same_of_every_request(site):
    answers = site.compare(
        lambda front: each(front, PATHS, X_A="b", Cookie="c=d; e=f", Accept_Language="de", Content_Type="x/y"), MASKS
    )
    told = [json.loads(answer.body) for answer in answers]
    assert [one["server"]["DOCUMENT_URI"] for one in told][:5] == ["/index.php"] * 3 + ["/index.php/path/info", "/index.php/"]
    assert told[3]["server"]["PATH_INFO"] == "/path/info" and told[3]["server"]["SCRIPT_NAME"] == "/index.php"
    assert told[5]["server"]["REQUEST_URI"] == "/a/pretty/path?x=1" and told[5]["get"] == {"x": "1"}
    assert told[6]["server"]["PATH_INFO"] == "/é/A"
    assert told[0]["server"]["SERVER_SOFTWARE"] == "nginx/VERSION"
    assert {one["server"]["HTTP_X_A"] for one in told} == {"b"}


@pytest.mark.parametrize("path", ["/index.php", "/kept/", "/unbuffered/"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_a_body_arrives_whole(site, path, in_chunks):
    pieces = [CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000)]
    body = pieces if in_chunks else CONTENT
    fields = {"Content-Type": "application/octet-stream"}

    def flow(front: Front) -> list[object]:
        answer = Browser(front).request("POST", path, body, fields)
        told = json.loads(answer.body)
        # A coding that is over by then is not told to programs, which some would wait for.
        told["server"].pop("HTTP_TRANSFER_ENCODING", None)
        return [told["size"], told["sha256"], told["server"]]

    if in_chunks and path == "/unbuffered/":
        # nginx begins the request before it knows the length, and PHP reads nothing.
        for front in site.ours:
            assert flow(front)[:2] == [len(CONTENT), DIGEST]
    else:
        # The logs have the bytes of answers, which name the coding.
        assert site.compare(flow, MASKS, logs=not in_chunks)[:2] == [len(CONTENT), DIGEST]


def test_forms_and_files(site):
    form = site.compare(lambda front: Browser(front).post("/index.php?q=1", {"user": "ann", "text": "é &"}), MASKS)
    told = json.loads(form.body)
    assert (told["get"], told["post"]) == ({"q": "1"}, {"user": "ann", "text": "é &"})
    file = site.compare(lambda front: Browser(front).upload("/index.php", {"user": b"ann"}, ("f", "x.bin", CONTENT)), MASKS)
    assert json.loads(file.body)["files"] == {"f": ["x.bin", len(CONTENT), DIGEST]}


def test_statuses_fields_and_cookies(site):
    names = ("status", "away", "length", "code&code=204", "code&code=304", "code&code=404", "code&code=503", "big")
    paths = [f"{path}?do={name}" for path in ("/index.php", "/kept/") for name in names]
    answers = site.compare(lambda front: each(front, paths), MASKS)
    assert [answer.status for answer in answers[:8]] == [418, 302, 200, 204, 304, 404, 503, 200]
    assert answers[0]["set-cookie"] == "a=1; path=/, b=2; HttpOnly" and answers[1]["location"] == "/elsewhere?x=1"
    assert len(answers[7].body) == 400 * 8 * 2048
    site.compare(lambda front: each(front, paths[:7], "HEAD"), MASKS)


def test_messages_reach_the_error_log(site):
    def flow(front: Front) -> list[str]:
        before = len(said(front))
        each(front, ["/index.php?do=log"])
        answers = each(front, ["/index.php?do=fatal", "/missing/x"])
        assert [answer.status for answer in answers] == [500, 404]
        return until(lambda: len(said(front)) >= before + 3 and said(front)[before:], lambda: f"three lines: {said(front)}")

    lines = site.compare(flow, {**MASKS, str(HERE): "HERE"})
    assert "PHP message: something to know" in lines[0]
    assert "PHP Fatal error:  Uncaught Error: Call to undefined function undefined_function()" in lines[1]
    assert lines[2] == 'FastCGI sent in stderr: "Primary script unknown" while reading response header from upstream'


def test_pages_of_ours_take_the_place_of_errors(site):
    paths = ["/pretty/x?do=status", "/pretty/x?do=code&code=404", "/pretty/x?do=code&code=503", "/none.php"]
    answers = site.compare(lambda front: each(front, paths), MASKS)
    assert [answer.status for answer in answers] == [404, 404, 503, 404]
    assert answers[0].body == b"sorry: /pretty/x\n"


def test_a_file_is_sent_in_place_of_a_program_s_answer(site):
    answers = site.compare(lambda front: [*each(front, ["/?do=file"]), *each(front, ["/?do=file"], Range="bytes=10-19")])
    assert answers[0].body == CONTENT and answers[1].body == CONTENT[10:20]
    assert answers[0]["content-disposition"] == "attachment"


@pytest.mark.parametrize("path", ["/index.php", "/kept/", "/unbuffered/"])
def test_what_is_flushed_comes_at_once(site, directory, path):
    def flow(front: Front) -> list[bytes]:
        gate = directory / f"gate-{front.name}-{path.strip('/')}"
        gate.mkdir()
        with Browser(front).stream(f"{path}?do=stream&gate={gate}") as stream:
            pieces = []
            for number in range(4):
                if number:
                    (gate / str(number)).touch()
                pieces.append(stream.until(b"line %d\n" % number))
            return pieces

    # The path of the gate is in the log.
    assert site.compare(flow, {r"gate-\w+-": "gate-"}) == [b"line %d\n" % number for number in range(4)]


# Laravel


class LaravelBrowser(Browser):
    """A browser at the site of Laravel."""

    def request(self, method, path, body=None, fields={}):
        return super().request(method, path, body, {"Host": "laravel.test", **fields})


TOKENS = {
    r"(?<=_token\" value=\")\w+": "TOKEN",
    r"(?<=XSRF-TOKEN=)[^;']+": "TOKEN",
    r"(?<=gallery_session=)[^;']+": "SESSION",
    r"(?<=expires=)[^;']+": "TIME",
}


def token_of(answer: Answer) -> str:
    found = re.search(rb'_token" value="(\w+)', answer.body)
    assert found, answer
    return found[1].decode()


@pytest.fixture
def laravel(site) -> Iterator[Fronts]:
    if not Path("/usr/share/php/Illuminate/autoload.php").exists():
        pytest.skip("Laravel is not installed (php-laravel-framework)")
    yield site


def test_a_session_with_a_login(laravel):
    def flow(front: Front) -> list[Answer]:
        browser = LaravelBrowser(front)
        first = browser.get("/")
        refused = browser.post("/login", {"user": "ann"})
        login = browser.post("/login", {"user": "ann", "_token": token_of(first)})
        invalid = browser.post("/login", {"user": "", "_token": token_of(browser.get("/"))})
        return [first, refused.without_body(), login, invalid, browser.get("/")]

    first, refused, login, invalid, after = laravel.compare(flow, TOKENS)
    assert [one.status for one in (first, refused, login, invalid, after)] == [200, 419, 302, 302, 200]
    assert b"user none" in first.body and b"user ann" in after.body
    assert first["x-frame-options"] == "SAMEORIGIN" and first["x-powered-by"] is None


def test_pretty_urls_errors_and_files_of_its_own(laravel):
    paths = ["/who?q=1", "/none", "/boom", "/db", "/robots.txt", "/.env", "/index.php", "/index.php/who"]
    answers = laravel.compare(
        lambda front: [LaravelBrowser(front).get(path, X_Forwarded_For="203.0.113.9") for path in paths], TOKENS
    )
    assert [answer.status for answer in answers] == [200, 404, 500, 200, 200, 403, 200, 200]
    assert json.loads(answers[0].body)["url"] == "http://laravel.test/who?q=1"
    assert json.loads(answers[0].body)["ip"] == "203.0.113.9"


def test_an_upload_and_the_same_file_back(laravel):
    def flow(front: Front) -> list[object]:
        browser = LaravelBrowser(front)
        token = token_of(browser.get("/")).encode()
        up = browser.upload("/upload", {"_token": token}, ("f", "u.bin", CONTENT))
        down = browser.get("/send")
        return [up, down.status, hashlib.sha256(down.body).hexdigest(), browser.get("/send", Range="bytes=0-9").body]

    up, status, digest, part = laravel.compare(flow, TOKENS)
    assert (up.status, status, digest, part) == (200, 200, DIGEST, CONTENT[:10])
    assert json.loads(up.body) == {"n": len(CONTENT), "sha": DIGEST, "name": "u.bin"}
