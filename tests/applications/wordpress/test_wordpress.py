"""WordPress under PHP-FPM with MariaDB, by the configuration that its own manual prints for nginx."""

from __future__ import annotations

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
from applications.programs import Program, needed
from wproxy.config.document import SHIPPED_DIRECTORY

HERE = Path(__file__).parent
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005050102cfa02ee40000000049454e44ae426082"
)
# What a front says of itself, and what WordPress makes anew for each page or session.
MASKS = {r"nginx/[\d.]+": "nginx/VERSION", r"picture-\d\.png": "picture.png", r"(?<=\?p=)\d+": "ID", r"(?<=media/)\d+": "ID"}


class WordPressBrowser(Browser):
    """A browser at the site."""

    def request(self, method, path, body=None, fields={}):
        return super().request(method, path, body, {"Host": "wp.test", **fields})

    def log_in(self, password: str = "secret") -> Answer:
        self.get("/wp-login.php")  # its cookie shows that cookies work
        form = {
            "log": "admin",
            "pwd": password,
            "wp-submit": "Log In",
            "redirect_to": "http://wp.test/wp-admin/",
            "testcookie": "1",
        }
        return self.post("/wp-login.php", form)


@pytest.fixture(scope="module")
def database(directory: Path, run: Callable[[Program], Program]) -> Path:
    """The socket of MariaDB, with an empty database for the site."""
    owner = ["--user=root"] if os.geteuid() == 0 else []
    data, socket = directory / "sql", directory / "sql.sock"
    install = [needed("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    server = needed("mariadbd")
    made = subprocess.run([*install, "--skip-test-db", *owner], capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    options = [f"--datadir={data}", f"--socket={socket}", "--skip-networking", f"--pid-file={directory}/sql.pid"]
    run(Program("mariadb", [server, "--no-defaults", *options, *owner], directory, socket))
    client = [needed("mariadb"), "--no-defaults", f"--socket={socket}", "--user=root", "--execute=create database wordpress"]
    subprocess.run(client, check=True, timeout=60)
    return socket


@pytest.fixture(scope="module")
def site(directory: Path, fpm: Path, database: Path, fronts: Callable[..., Fronts]) -> Fronts:
    wordpress = directory / "wordpress"
    # With what its links lead to: WordPress finds its directory by that of its own files.
    shutil.copytree(needed("/usr/share/wordpress"), wordpress, ignore=shutil.ignore_patterns("wp-config.php"))
    shutil.copy(HERE / "wp-config.php", wordpress)
    (wordpress / "wp-content" / "uploads").mkdir(exist_ok=True)
    (wordpress / "wp-content" / "uploads" / "evil.php").write_text("<?php echo 'run';")
    (wordpress / ".secret").write_text("secret")
    done = subprocess.run(
        [needed("php"), HERE / "install.php", wordpress], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.endswith("installed\n"), done.stdout + done.stderr
    return fronts(HERE / "nginx.conf", SHIPPED=SHIPPED_DIRECTORY, SOCKET=fpm, WORDPRESS=wordpress)


def test_pages_files_and_pretty_permalinks(site):
    paths = [
        "/", "/proxied/", "/proxied", "/?p=1", "/hello-world/", "/sample-page/", "/none/", "/wp-json/wp/v2/posts?per_page=1",
        "/feed/", "/robots.txt", "/favicon.ico", "/wp-includes/js/wp-embed.min.js", "/none.css", "/wp-admin",
    ]  # fmt: skip
    answers = site.compare(lambda front: [WordPressBrowser(front).get(path) for path in paths], MASKS)
    told = dict(zip(paths, answers))
    assert [told[path].status for path in paths[:6]] == [200, 200, 301, 301, 200, 200]
    assert b"through the front" in told["/proxied/"].body and told["/proxied"]["location"] == "http://wp.test/proxied/"
    assert told["/none/"].status == told["/none.css"].status == 404
    assert json.loads(told["/wp-json/wp/v2/posts?per_page=1"].body)[0]["slug"] == "proxied"
    assert told["/wp-includes/js/wp-embed.min.js"]["cache-control"] == "max-age=315360000"
    assert told["/wp-admin"].status == 301 and told["/wp-admin"]["location"] == "http://wp.test:PORT/wp-admin/"


def test_every_script_and_style_of_the_front_page_is_there(site):
    def flow(front: Front) -> list[tuple[str, int]]:
        browser = WordPressBrowser(front)
        assets = set(re.findall(rb"(?:href|src)='http://wp\.test(/[^'?]+\.(?:css|js))", browser.get("/").body))
        return [(path, browser.get(path).status) for path in sorted(each.decode() for each in assets)]

    assets = site.compare(flow)
    assert assets and {status for _, status in assets} == {200}


def test_what_the_manual_restricts(site):
    paths = ["/.secret", "/wp-content/uploads/evil.php"]
    answers = site.compare(lambda front: [WordPressBrowser(front).get(path) for path in paths], MASKS)
    assert [answer.status for answer in answers] == [403, 403]


def test_a_login_with_the_dashboard_behind_it(site):
    def flow(front: Front) -> list[object]:
        browser = WordPressBrowser(front)
        closed = browser.get("/wp-admin/")
        wrong = browser.log_in("wrong")
        right = browser.log_in()
        inside = browser.get("/wp-admin/")
        names = sorted(re.sub(r"_[0-9a-f]{32}", "", name) for name in browser.cookies)
        return [
            closed.status, closed["location"], wrong.status, b"is incorrect" in wrong.body, right.status, right["location"],
            inside.status, b"Dashboard" in inside.body, names,
        ]  # fmt: skip

    told = site.compare(flow)
    assert told[:8] == [
        302, "http://wp.test/wp-login.php?redirect_to=http%3A%2F%2Fwp.test%2Fwp-admin%2F&reauth=1", 200, True,
        302, "http://wp.test/wp-admin/", 200, True,
    ]  # fmt: skip
    assert "wordpress_logged_in" in told[8]


def test_an_upload_and_a_new_post(site):
    def flow(front: Front) -> list[object]:
        browser = WordPressBrowser(front)
        browser.log_in()
        token = browser.get("/wp-admin/admin-ajax.php?action=rest-nonce").body.decode()
        fields = {"X-WP-Nonce": token}
        picture = {"Content-Type": "image/png", "Content-Disposition": 'attachment; filename="picture.png"'}
        refused = WordPressBrowser(front).request("POST", "/wp-json/wp/v2/media", PICTURE, picture)
        up = browser.request("POST", "/wp-json/wp/v2/media", PICTURE, {**fields, **picture})
        place = json.loads(up.body)["source_url"].removeprefix("http://wp.test")
        back = browser.get(place)
        post = json.dumps({"title": f"By {front.name}", "content": "written", "status": "publish"}).encode()
        made = browser.request("POST", "/wp-json/wp/v2/posts", post, {**fields, "Content-Type": "application/json"})
        page = WordPressBrowser(front).get(f"/by-{front.name}/")
        return [
            refused.status,
            up.status,
            up["location"],
            back.status,
            back.body == PICTURE,
            made.status,
            page.status,
            b"written" in page.body,
        ]

    names = {r"by-(?:nginx|wproxy|converted)": "by-FRONT", **MASKS}
    told = site.compare(flow, names)
    assert [told[0], told[1], *told[3:]] == [401, 201, 200, True, 201, 200, True]
