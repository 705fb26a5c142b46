"""Static and proxied in one server, as the deployment guides of Rails, Django, Laravel, Next.js and single pages have it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from recorder import Conversation, Received, Recorder, send_ok
from sites import Site
from wire import Wire, ask

from bench.ports import free_port

pytestmark = pytest.mark.whole

SCRIPT = b"const answer = 42;\n" * 100
FILM = bytes(range(256)) * 1200

CONFIGURATION = """
events { }
error_log logs/error.log info;
http {
    access_log logs/access.log;
    types { text/html html; text/css css; application/javascript js; video/mp4 mp4; }
    gzip on; gzip_types application/javascript; gzip_vary on;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    upstream app { server 127.0.0.1:APP; keepalive 4; }

    server {
        listen 127.0.0.1:PORT;
        server_name rails.example.com;
        root ROOT/rails;
        if (-f $document_root/system/maintenance.html) { return 503; }
        error_page 503 @maintenance;
        location @maintenance { rewrite ^ /system/maintenance.html break; }
        location ^~ /assets/ { gzip_static on; expires max; add_header Cache-Control public; }
        location / { try_files $uri/index.html $uri.html $uri @app; }
        location @app { proxy_set_header Host $http_host; proxy_redirect off; proxy_pass http://app; }
        location /cable {
            proxy_pass http://app; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
        }
        error_page 500 502 504 /500.html;
        location = /health { access_log off; default_type text/plain; return 200 "ok\\n"; }
    }
    server {
        listen 127.0.0.1:PORT;
        server_name django.example.com;
        location /static/ { alias ROOT/django/static/; expires 30d; add_header Cache-Control "public, immutable"; }
        location /media/ { alias ROOT/django/media/; }
        location /protected/ { internal; alias ROOT/django/protected/; }
        location / { proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://app; }
    }
    server {
        listen 127.0.0.1:PORT;
        server_name laravel.example.com;
        root ROOT/laravel/public;
        index index.html;
        charset utf-8;
        location / { try_files $uri $uri/ /index.php?$query_string; }
        location = /favicon.ico { access_log off; log_not_found off; }
        location ~ \\.php$ { proxy_pass http://app; }
        location ~ /\\.(?!well-known) { return 403; }
    }
    server {
        listen 127.0.0.1:PORT;
        server_name next.example.com;
        location /_next/static/ { alias ROOT/next/static/; expires 1y; add_header Cache-Control "public, max-age=31536000, immutable"; }
        location /public/ { root ROOT/next; try_files $uri @next; }
        location / { try_files /dev/null @next; }
        location @next { proxy_http_version 1.1; proxy_pass http://app; }
    }
    server {
        listen 127.0.0.1:PORT;
        server_name spa.example.com;
        root ROOT/spa;
        location / { try_files $uri $uri/ /index.html; }
        location = /index.html { add_header Cache-Control no-cache; }
        location /assets/ { try_files $uri =404; expires 1y; }
        location /api/ { proxy_pass http://app/; }
    }
}
"""

FILES = {
    "rails/robots.txt": b"robots",
    "rails/about.html": b"about",
    "rails/docs/index.html": b"docs",
    "rails/500.html": b"sorry",
    "rails/assets/app-12ab.js": SCRIPT,
    "rails/assets/app-12ab.js.gz": gzip.compress(SCRIPT, mtime=0),
    "django/static/site.css": b"p{}",
    "django/media/a.html": b"uploaded",
    "django/protected/film.mp4": FILM,
    "laravel/public/index.html": b"front page",
    "laravel/public/build/app.js": SCRIPT,
    "laravel/public/.env": b"SECRET",
    "laravel/public/.well-known/security.txt": b"contact",
    "next/static/chunk.js": SCRIPT,
    "next/public/logo.html": b"logo",
    "spa/index.html": b"<!doctype html>app",
    "spa/assets/app.js": SCRIPT,
}


@pytest.fixture(scope="module")
def app() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def clean_slate(app: Recorder) -> None:
    app.requests.clear()
    app.reply = send_ok


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, app: Recorder) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("idioms")
    for name, content in FILES.items():
        path = directory / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "logs").mkdir()
    port = free_port()
    text = CONFIGURATION
    for word, value in (("PORT", port), ("APP", app.port), ("ROOT", directory / "www")):
        text = text.replace(word, str(value))
    (directory / "nginx.conf").write_text(text)
    running = Site(directory / "nginx.conf", port)
    yield running
    running.end()


def test_pages_and_files_come_from_the_disk_and_the_rest_from_the_application(site, app):
    for target, body in (("/robots.txt", b"robots"), ("/about", b"about"), ("/docs", b"docs"), ("/docs/", b"docs")):
        assert ask(site.port, target, host="rails.example.com").body == body
    assert not app.requests
    answer = ask(site.port, "/orders/7?full=1", host="rails.example.com")
    assert answer.body == b"ok"
    received = app.one()
    assert received.target == "/orders/7?full=1"
    assert received.all("host") == ["rails.example.com"]


def test_compiled_assets_are_sent_as_they_lie_and_kept_for_ever(site, app):
    answer = ask(site.port, "/assets/app-12ab.js", host="rails.example.com", fields=[("Accept-Encoding", "gzip")])
    assert gzip.decompress(answer.body) == SCRIPT
    assert answer["content-length"] == str(len(FILES["rails/assets/app-12ab.js.gz"]))
    assert answer.all("cache-control") == ["max-age=315360000", "public"]
    assert answer.all("vary") == ["Accept-Encoding"]
    answer = ask(site.port, "/assets/app-12ab.js", host="rails.example.com")
    assert answer.body == SCRIPT
    assert answer.all("vary") == ["Accept-Encoding"]


def test_a_file_turns_maintenance_on_and_off(site, app):
    page = site.directory / "www/rails/system/maintenance.html"
    page.parent.mkdir()
    page.write_bytes(b"back soon")
    try:
        for target in ("/", "/orders/7", "/robots.txt", "/assets/app-12ab.js"):
            answer = ask(site.port, target, host="rails.example.com")
            assert (answer.status, answer.body, answer["content-type"]) == (503, b"back soon", "text/html")
        assert not app.requests
    finally:
        page.unlink()
    assert ask(site.port, "/robots.txt", host="rails.example.com").body == b"robots"


def test_an_application_that_is_gone_has_a_page_of_ours(site, app):
    app.reply = lambda conversation, received: conversation.close()
    answer = ask(site.port, "/orders", host="rails.example.com")
    assert (answer.status, answer.body) == (502, b"sorry")
    assert ask(site.port, "/health", host="rails.example.com").body == b"ok\n"


def test_the_cable_is_a_tunnel(site, app):
    def accept(conversation: Conversation, received: Received) -> None:
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := conversation.sock.recv(65536):
            conversation.send(data.upper())

    app.reply = accept
    with Wire(site.port) as wire:
        fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        assert wire.request("GET", "/cable", fields, host="rails.example.com").status == 101
        wire.send(b"hello")
        assert wire._exactly(5) == b"HELLO"
    assert app.one().all("connection") == ["upgrade"]


def test_collected_and_uploaded_files_need_no_application(site, app):
    answer = ask(site.port, "/static/site.css", host="django.example.com")
    assert (answer.body, answer["content-type"]) == (b"p{}", "text/css")
    assert answer.all("cache-control") == ["max-age=2592000", "public, immutable"]
    assert ask(site.port, "/media/a.html", host="django.example.com").body == b"uploaded"
    assert ask(site.port, "/static/../protected/film.mp4", host="django.example.com").status == 404
    assert not app.requests


def test_the_application_decides_who_gets_a_protected_file_and_we_send_it(site, app):
    def send_elsewhere(conversation: Conversation, received: Received) -> None:
        conversation.send(
            b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /protected/film.mp4\r\nContent-Type: video/x-mine\r\n"
            b'Content-Disposition: attachment; filename="film.mp4"\r\nSet-Cookie: seen=1\r\nContent-Length: 0\r\n\r\n'
        )

    app.reply = send_elsewhere
    answer = ask(site.port, "/films/1", host="django.example.com")
    assert (answer.status, answer.body, answer["content-type"]) == (200, FILM, "video/x-mine")
    assert answer["content-disposition"] == 'attachment; filename="film.mp4"'
    assert answer["set-cookie"] == "seen=1"
    assert answer["x-accel-redirect"] is None
    answer = ask(site.port, "/films/1", host="django.example.com", fields=[("Range", "bytes=256-511")])
    assert (answer.status, answer.body) == (206, FILM[256:512])
    assert answer["content-range"] == f"bytes 256-511/{len(FILM)}"
    assert [received.target for received in app.requests] == ["/films/1", "/films/1"]


def test_nobody_else_gets_a_protected_file(site, app):
    assert ask(site.port, "/protected/film.mp4", host="django.example.com").status == 404
    assert not app.requests


def test_everything_that_is_no_file_is_the_front_controllers(site, app):
    assert ask(site.port, "/", host="laravel.example.com").body == b"front page"
    answer = ask(site.port, "/build/app.js", host="laravel.example.com")
    assert (answer.body, answer["content-type"]) == (SCRIPT, "application/javascript; charset=utf-8")
    assert not app.requests
    assert ask(site.port, "/users/3?tab=a%20b", host="laravel.example.com").body == b"ok"
    assert app.one().target == "/index.php?tab=a%20b"


def test_hidden_files_stay_hidden(site, app):
    assert ask(site.port, "/.env", host="laravel.example.com").status == 403
    assert ask(site.port, "/.well-known/security.txt", host="laravel.example.com").body == b"contact"
    assert ask(site.port, "/favicon.ico", host="laravel.example.com").status == 404
    assert "favicon" not in site.errors


def test_chunks_are_immutable_and_pages_are_rendered(site, app):
    answer = ask(site.port, "/_next/static/chunk.js", host="next.example.com", fields=[("Accept-Encoding", "gzip")])
    assert gzip.decompress(answer.body) == SCRIPT
    assert answer.all("cache-control") == ["max-age=31536000", "public, max-age=31536000, immutable"]
    assert answer["etag"].startswith('W/"')
    assert ask(site.port, "/public/logo.html", host="next.example.com").body == b"logo"
    assert not app.requests
    for target in ("/", "/public/other.png", "/blog/a?x=1"):
        assert ask(site.port, target, host="next.example.com").body == b"ok"
    assert [received.target for received in app.requests] == ["/", "/public/other.png", "/blog/a?x=1"]


def test_every_route_is_the_single_page_but_assets_are_not(site, app):
    for target in ("/", "/users/7", "/index.html"):
        answer = ask(site.port, target, host="spa.example.com")
        assert (answer.status, answer.body, answer["cache-control"]) == (200, b"<!doctype html>app", "no-cache")
    assert ask(site.port, "/assets/app.js", host="spa.example.com")["cache-control"] == "max-age=31536000"
    assert ask(site.port, "/assets/gone.js", host="spa.example.com").status == 404
    assert ask(site.port, "/api/items?x=1", host="spa.example.com").body == b"ok"
    assert app.one().target == "/items?x=1"
