"""Django with its admin, static and protected files, and Channels: gunicorn on a unix socket, daphne and uvicorn for websockets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import PYTHON, Program, needed
from bench.ports import free_port

HERE = Path(__file__).parent
SITE = HERE / "site"
ADMIN = {"username": "admin", "password": "secret"}
# A page that tells the port of the front has another hash for each.
ETAG = {'"[0-9a-f]{32}"': "ETAG"}
MASKS = {r"(?<=csrftoken=)\w+": "TOKEN", r"(?<=sessionid=)\w+": "SESSION", r'(?<=name="csrfmiddlewaretoken" value=")\w+': "TOKEN"}


@pytest.fixture(scope="module")
def data(directory: Path, redis: int) -> Path:
    """A database with an administrator, collected static files, and a file for those who have logged in."""
    data = directory / "data"
    for name in ("media", "protected", "gates"):
        (data / name).mkdir(parents=True)
    (data / "protected" / "report.pdf").write_bytes(b"%PDF-" + bytes(range(256)) * 400)
    environment = {**os.environ, **environment_of(data, redis), "DJANGO_SUPERUSER_PASSWORD": ADMIN["password"]}
    admin = f"createsuperuser --noinput --username {ADMIN['username']} --email admin@gallery.example"
    for words in ("migrate --verbosity 0", "collectstatic --noinput --verbosity 0", admin):
        command = [needed(PYTHON / "python"), str(SITE / "manage.py"), *words.split()]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    return data


def environment_of(data: Path, redis: int, name: str = "") -> dict[str, str]:
    return {"DATA": str(data), "REDIS": str(redis), "NAME": name, "PYTHONPATH": str(SITE), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def django(directory: Path, data: Path, redis: int, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    gunicorn, daphne, uvicorn = directory / "gunicorn.sock", directory / "daphne.sock", free_port()
    commands: dict[str, tuple[str, Path | int]] = {
        "gunicorn": (f"--workers 2 --threads 4 --bind unix:{gunicorn} --no-control-socket gallery.wsgi", gunicorn),
        "daphne": (f"-u {daphne} --proxy-headers gallery.asgi:application", daphne),
        "uvicorn": (f"--host 127.0.0.1 --port {uvicorn} --proxy-headers gallery.asgi:application", uvicorn),
    }
    for name, (words, address) in commands.items():
        program = needed(PYTHON / name)
        run(Program(name, [program, *words.split()], directory, address, environment_of(data, redis, name), SITE))
    return fronts(HERE / "nginx.conf", GUNICORN=gunicorn, DAPHNE=daphne, UVICORN=uvicorn, DATA=data)


def token(page: Answer) -> str:
    """Return the CSRF token of the form on a page."""
    found = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)', page.body)
    assert found, page
    return found[1].decode()


def log_in(browser: Browser) -> Answer:
    form = {**ADMIN, "csrfmiddlewaretoken": token(browser.get("/admin/login/")), "next": "/admin/"}
    return browser.post("/admin/login/", form, {"Origin": browser.front.url, "Referer": f"{browser.front.url}/admin/login/"})


def test_the_admin_lets_in_who_has_the_password_and_a_token_from_this_site(django):
    def flow(front: Front) -> dict[str, object]:
        browser = Browser(front)
        seen: dict[str, object] = {"anonymous": browser.get("/admin/")}
        form = {**ADMIN, "csrfmiddlewaretoken": token(browser.get("/admin/login/")), "next": "/admin/"}
        seen["no token"] = Browser(front).post("/admin/login/", ADMIN).status
        seen["foreign"] = browser.post("/admin/login/", form, {"Origin": "http://evil.example"}).status
        seen["wrong"] = browser.post("/admin/login/", {**form, "password": "guess"}).without_body()
        seen["right"] = log_in(browser)
        page = browser.get("/admin/")
        seen["page"] = page.without_body()
        seen["is the admin"] = b"Site administration" in page.body
        seen["logged out"] = browser.post("/admin/logout/", {"csrfmiddlewaretoken": token(page)}).without_body()
        seen["after"] = browser.get("/admin/").status
        return seen

    seen = django.compare(flow, MASKS)
    assert (seen["anonymous"].status, seen["anonymous"]["location"]) == (302, "/admin/login/?next=/admin/")
    assert (seen["no token"], seen["foreign"], seen["wrong"].status) == (403, 403, 200)
    right = seen["right"]
    assert (right.status, right["location"], len([name for name, _ in right.fields if name == "set-cookie"])) == (
        302,
        "/admin/",
        2,
    )
    assert (seen["page"].status, seen["is the admin"], seen["logged out"].status, seen["after"]) == (200, True, 200, 302)


def test_what_is_added_in_the_admin_is_there_afterwards(django):
    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        log_in(browser)
        form = {"name": f"editors of {front.name}", "_save": "Save"}
        added = browser.post(
            "/admin/auth/group/add/", {**form, "csrfmiddlewaretoken": token(browser.get("/admin/auth/group/add/"))}
        )
        return [added.status, added["location"], form["name"].encode() in browser.get("/admin/auth/group/").body]

    assert django.compare(flow, MASKS) == [302, "/admin/auth/group/", True]


def test_every_asset_of_the_admin_comes_from_the_front_with_its_lifetime(django):
    def flow(front: Front) -> dict[str, Answer]:
        browser = Browser(front)
        page = browser.get("/admin/login/").body.decode()
        paths = sorted(set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page)))
        return {path: browser.get(path, Accept_Encoding="gzip") for path in [*paths, "/static/admin/img/icon-yes.svg"]}

    seen = django.compare(flow)
    assert len(seen) > 3
    for path, answer in seen.items():
        is_text = path.endswith((".css", ".js"))
        assert answer.status == 200, path
        assert answer["x-kind"] == ("asset" if is_text else None)
        assert answer["cache-control"] == ("max-age=31536000" if is_text else "max-age=2592000, public")
        assert answer["content-encoding"] == ("gzip" if is_text and answer["vary"] else None)


@pytest.mark.parametrize(
    "path", ["/static/none.css", "/static../gallery/settings.py", "/static/admin/", "/static", "/favicon.ico"]
)
def test_what_is_not_there_is_refused_in_the_same_way(django, path):
    seen = django.compare(lambda front: Browser(front).get(path))
    assert seen.status == {"/static/admin/": 403, "/favicon.ico": 204}.get(path, 404)


def test_django_knows_where_it_stands(django):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        return [
            browser.get("/seen/", X_Forwarded_For="203.0.113.9"),
            browser.get("/seen"),
            browser.get("/old/"),
            browser.get("/none"),
        ]

    here, slash, moved, missing = django.compare(flow, ETAG)
    assert json.loads(here.body) == {
        "url": "http://127.0.0.1:PORT/seen/",
        "is_secure": False,
        "forwarded": "203.0.113.9, 127.0.0.1",
        "real": "127.0.0.1",
    }
    assert (slash.status, slash["location"], moved.status, moved["location"]) == (301, "/seen/", 301, "/seen/")
    assert missing.status == 404


def test_a_host_that_is_not_ours_gets_no_answer(django):
    assert django.compare(lambda front: Browser(front).raw(b"GET /seen/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")) == b""


def test_an_upload_comes_back_from_the_media(django):
    content = os.urandom(6_000_000)

    def flow(front: Front) -> list[object]:
        browser = Browser(front)
        parts = {"csrfmiddlewaretoken": token(browser.get("/upload/")).encode()}
        answer = browser.upload("/upload/", parts, ("file", f"photo-{front.name}.bin", content))
        told = json.loads(answer.body)
        back = browser.get("/media/" + told["name"])
        assert back.body == content
        assert told["name"] == f"photo-{front.name}.bin"
        return [
            answer.status,
            told["size"],
            told["sha256"],
            back.status,
            [f for f in back.fields if f[0] not in ("etag", "last-modified")],
        ]

    status, size, digest, back, fields = django.compare(flow, {"photo-[a-z]+": "photo"})
    assert (status, size, digest, back) == (200, len(content), hashlib.sha256(content).hexdigest(), 200)
    assert ["x-content-type-options", "nosniff"] in fields
    assert django.compare(lambda front: Browser(front).get("/media/page.html")).status == 403


def test_a_protected_file_is_sent_by_the_front_to_who_has_logged_in(django, data):
    def flow(front: Front) -> dict[str, Answer]:
        browser = Browser(front)
        seen = {"anonymous": browser.get("/report/report.pdf"), "direct": browser.get("/protected/report.pdf")}
        log_in(browser)
        seen["whole"] = browser.get("/report/report.pdf")
        seen["part"] = browser.get("/report/report.pdf", Range="bytes=0-9")
        seen["missing"] = browser.get("/report/none.pdf")
        return seen

    seen = django.compare(flow, MASKS)
    content = (data / "protected" / "report.pdf").read_bytes()
    assert (seen["anonymous"].status, seen["direct"].status, seen["missing"].status) == (302, 404, 404)
    whole, part = seen["whole"], seen["part"]
    assert (whole.status, whole.body, whole["content-type"]) == (200, content, "application/pdf")
    assert whole["content-disposition"] == 'attachment; filename="report.pdf"'
    assert (part.status, part.body, part["content-range"]) == (206, content[:10], f"bytes 0-9/{len(content)}")


def test_a_streamed_answer_comes_line_by_line(django, data):
    def flow(front: Front) -> list[object]:
        gates = data / "gates" / front.name
        gates.mkdir()
        with Browser(front).stream(f"/lines/?gate={front.name}") as stream:
            lines = [stream.until(b"line 0\n")]
            for number in range(1, 4):
                (gates / str(number)).touch()
                lines.append(stream.until(b"line %d\n" % number))
            return [stream.fields, lines, stream.rest()]

    _, lines, rest = django.compare(flow)
    assert (lines, rest) == ([b"line 0\n", b"line 1\n", b"line 2\n", b"line 3\n"], b"")


def test_a_room_is_one_over_both_servers_and_knows_who_is_logged_in(django):
    text = "hé" * 2000

    def flow(front: Front) -> dict[str, object]:
        browser = Browser(front)
        log_in(browser)
        url = f"ws://127.0.0.1:{front.port}/ws/{front.name}/"
        with ExitStack() as stack:
            known = stack.enter_context(connect(url, origin=front.url, additional_headers=browser.cookie_field(), proxy=None))
            others = [stack.enter_context(connect(url, origin=front.url, proxy=None)) for _ in range(3)]
            hellos = [json.loads(client.recv(30)) for client in (known, *others)]
            known.send(json.dumps({"text": text}))
            heard = [json.loads(client.recv(30)) == {"text": text} for client in (known, *others)]
            assert known.ping().wait(30)
            servers = sorted({hello.pop("server") for hello in hellos})
            extensions = [type(extension).__name__ for extension in known.protocol.extensions]
        return {"hellos": hellos, "servers": servers, "heard": heard, "extensions": extensions, "closed": known.close_code}

    seen = django.compare(flow)
    anonymous = {"user": "", "forwarded": "127.0.0.1"}
    assert seen["hellos"] == [{**anonymous, "user": "admin"}, anonymous, anonymous, anonymous]
    assert (seen["servers"], seen["heard"], seen["closed"]) == (["daphne", "uvicorn"], [True] * 4, 1000)


def test_a_websocket_from_a_page_of_another_site_is_refused(django):
    def flow(front: Front) -> int:
        with pytest.raises(InvalidStatus) as refusal:
            connect(f"ws://127.0.0.1:{front.port}/ws/room/", origin="http://evil.example", proxy=None)
        return refusal.value.response.status_code

    assert django.compare(flow) == 403


def test_a_page_for_maintenance_stands_in_for_the_site_while_it_is_there(django, data):
    page = data / "maintenance.html"
    page.write_text("<p>back soon</p>")
    try:
        seen = django.compare(lambda front: Browser(front).get("/seen/"))
    finally:
        page.unlink()
    assert (seen.status, seen.body, seen["content-type"]) == (200, b"<p>back soon</p>", "text/html")
    assert django.compare(lambda front: Browser(front).get("/seen/"), ETAG).status == 200
