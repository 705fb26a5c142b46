"""Flask under uWSGI, over uwsgi, the same over TLS, SCGI and FastCGI, and Django over uwsgi: the applications of flask/ and django/."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import KEPT, PYTHON, Program, needed
from tests.authority import authority
from wproxy.config.document import SHIPPED_DIRECTORY

HERE = Path(__file__).parent
CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MASKS = {r"(?<=session=)[\w.-]+": "SESSION", r"(?<=csrftoken=)\w+": "TOKEN", r"(?<=sessionid=)\w+": "SESSION",
         r'(?<=name="csrfmiddlewaretoken" value=")\w+': "TOKEN", '"[0-9a-f]{32}"': "ETAG"}  # fmt: skip
PROTOCOLS = pytest.mark.parametrize("protocol", ["uwsgi", "suwsgi", "scgi", "fastcgi"])


def uwsgi(run: Callable[[Program], Program], name: str, directory: Path, home: Path, module: str, sockets: dict[str, Path],
          environment: dict[str, str], more: tuple[str, ...] = ()) -> None:  # fmt: skip
    """Start a uWSGI with one application on these sockets. more: further words of its command."""
    needed(PYTHON / "python")
    words = f"--plugin python3 --home {KEPT / 'python'} --pythonpath {home} --module {module} --master --die-on-term".split()
    words += ["--processes", "2", "--threads", "4", "--buffer-size", "32768", "--umask", "000"]
    for option, path in sockets.items():
        words += [f"--{option}", str(path)]
    program = needed("uwsgi")
    run(Program(name, [program, *words, *more], directory, next(iter(sockets.values())), environment))


@pytest.fixture(scope="module")
def site(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    sockets = {name: directory / f"{name}.sock" for name in ("socket", "scgi-socket", "fastcgi-socket")}
    root, secure = authority(), directory / "suwsgi.sock"
    (directory / "root.pem").write_bytes(root.pem)
    certificate, key = root.issue("shop.example", ["shop.example"]).write(directory, "shop")
    more = "--suwsgi-socket", f"{secure},{certificate},{key}"
    uwsgi(run, "uwsgi", directory, HERE.parent / "flask", "shop:app", sockets, {"PYTHONDONTWRITEBYTECODE": "1"}, more)
    data, django = directory / "data", HERE.parent / "django" / "site"
    for name in ("media", "protected", "gates"):
        (data / name).mkdir(parents=True)
    (data / "protected" / "report.pdf").write_bytes(b"%PDF-" + bytes(range(256)) * 400)
    environment = {"DATA": str(data), "REDIS": "1", "PYTHONPATH": str(django), "PYTHONDONTWRITEBYTECODE": "1"}
    for words in ("migrate --verbosity 0", "collectstatic --noinput --verbosity 0",
                  "createsuperuser --noinput --username admin --email admin@gallery.example"):  # fmt: skip
        command = [needed(PYTHON / "python"), str(django / "manage.py"), *words.split()]
        given = {**os.environ, **environment, "DJANGO_SUPERUSER_PASSWORD": "secret"}
        subprocess.run(command, env=given, check=True, capture_output=True, timeout=120)
    uwsgi(run, "django", directory, django, "gallery.wsgi", {"socket": directory / "django.sock"}, environment)
    return fronts(
        HERE / "nginx.conf",
        UWSGI=sockets["socket"],
        SUWSGI=secure,
        ROOT=directory / "root.pem",
        SCGI=sockets["scgi-socket"],
        FASTCGI=sockets["fastcgi-socket"],
        DJANGO=directory / "django.sock",
        STATIC=data / "static",
        PROTECTED=data / "protected",
        SHIPPED=SHIPPED_DIRECTORY,
    )


class At(Browser):
    """A browser at the site of one protocol."""

    def __init__(self, front: Front, protocol: str) -> None:
        super().__init__(front)
        self.host = f"{protocol}.test"

    def request(self, method, path, body=None, fields={}):
        return super().request(method, path, body, {"Host": self.host, **fields})


@PROTOCOLS
def test_pages_sessions_and_redirects(site, protocol):
    def flow(front: Front) -> list[Answer]:
        browser = At(front, protocol)
        pages = [browser.get("/", X_Forwarded_For="203.0.113.9"), browser.post("/login", {"user": "ann"})]
        return [*pages, browser.get("/"), browser.get("/none?x=%20"), browser.get("/fail"), browser.request("HEAD", "/")]

    first, login, after, none, fail, head = site.compare(flow, MASKS)
    assert json.loads(first.body)["url"] == f"http://{protocol}.test/"
    assert [one.status for one in (first, login, after, none, fail, head)] == [200, 302, 200, 404, 500, 200]
    assert json.loads(after.body)["user"] == "ann" and login["location"] == "/"
    assert head.body == b""


@PROTOCOLS
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_an_upload_arrives_whole(site, protocol, in_chunks):
    pieces = [CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000)]
    fields = {"Content-Type": "application/octet-stream"}

    def flow(front: Front) -> dict[str, object]:
        told = json.loads(At(front, protocol).request("POST", "/upload", pieces if in_chunks else CONTENT, fields).body)
        return {name: told[name] for name in ("size", "sha256")}

    if in_chunks:
        # nginx tells programs of the coding that is over by then, and Werkzeug reads nothing.
        for front in site.ours:
            assert flow(front) == {"size": len(CONTENT), "sha256": DIGEST}
    else:
        assert site.compare(flow) == {"size": len(CONTENT), "sha256": DIGEST}


@PROTOCOLS
def test_large_answers_and_large_heads(site, protocol):
    answers = site.compare(lambda front: [At(front, protocol).get(path) for path in ("/big", "/cookie/3000", "/cookie/5000")])
    assert [answer.status for answer in answers] == [200, 200, 502]
    assert hashlib.sha256(answers[0].body).digest() == hashlib.sha256(b"".join(b"%08d" % n * 8192 for n in range(160))).digest()


@PROTOCOLS
def test_unbuffered_lines_come_one_by_one(site, protocol, directory):
    def flow(front: Front) -> list[bytes]:
        gate = directory / f"gate-{front.name}-{protocol}"
        gate.mkdir()
        with At(front, protocol).stream(f"/lines?unbuffered&gate={gate}", Host=f"{protocol}.test") as stream:
            pieces = []
            for number in range(4):
                if number:
                    (gate / str(number)).touch()
                pieces.append(stream.until(b"data: %d\n\n" % number))
            return pieces

    assert site.compare(flow, {r"gate-\w+-": "gate-"}) == [b"data: %d\n\n" % number for number in range(4)]


def test_a_page_of_ours_takes_the_place_of_an_error(site):
    answer = site.compare(lambda front: At(front, "uwsgi").get("/pretty/x"))
    assert (answer.status, answer.body) == (404, b"sorry\n")


# Django


def token_of(answer: Answer) -> str:
    found = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)', answer.body)
    assert found, answer
    return found[1].decode()


def test_the_admin_of_django(site):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        host = {"Host": "localhost"}
        page = browser.get("/admin/login/", **host)
        form = {"username": "admin", "password": "secret", "next": "/admin/", "csrfmiddlewaretoken": token_of(page)}
        refused = browser.post("/admin/login/", {**form, "csrfmiddlewaretoken": "x"}, host)
        before = browser.get("/report/report.pdf", **host)
        login = browser.post("/admin/login/", form, host)
        inside = browser.get("/admin/", **host)
        files = [browser.get(path, **host) for path in ("/static/admin/css/base.css", "/static/none.css", "/report/report.pdf")]
        part = browser.get("/report/report.pdf", Range="bytes=0-4", **host)
        return [page.without_body(), refused.without_body(), before, login, inside.without_body(), *files, part]

    answers = site.compare(flow, MASKS)
    assert [one.status for one in answers] == [200, 403, 302, 302, 200, 200, 404, 200, 206]
    assert answers[-1].body == b"%PDF-"
