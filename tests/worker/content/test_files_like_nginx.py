"""What else there is to files, asked of this worker and of the real nginx: lists of directories, compressed files beside the
plain ones, symbolic links, character sets, caches of open files."""

from __future__ import annotations

import os
from pathlib import Path

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

THEN = 1_000_000_000

CONFIGURATION = """
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:PORT;
        root DIR/www;
        location /list/ { autoindex on; }
        location /list/json/ { alias DIR/www/list/; autoindex on; autoindex_format json; }
        location /list/jsonp/ { alias DIR/www/list/; autoindex on; autoindex_format jsonp; }
        location /list/xml/ { alias DIR/www/list/; autoindex on; autoindex_format xml; }
        location /list/about/ { alias DIR/www/list/; autoindex on; autoindex_exact_size off; }
        location /list/local/ { alias DIR/www/list/; autoindex on; autoindex_localtime on; }
        location /list/utf8/ { alias DIR/www/list/; autoindex on; charset utf-8; }
        location /list/koi/ { alias DIR/www/list/; autoindex on; charset koi8-r; autoindex_format json; }
        location /hollow/ { autoindex on; }
        location /hollow/json/ { alias DIR/www/hollow/; autoindex on; autoindex_format json; }
        location /hollow/xml/ { alias DIR/www/hollow/; autoindex on; autoindex_format xml; }
        location /indexed/ { autoindex on; }
        location /refused/ { autoindex on; error_page 404 =200 /list/; error_page 403 @named; }
        location @named { return 200 "named $uri"; }

        location /gz/ { gzip_static on; }
        location /gzalways/ { alias DIR/www/gz/; gzip_static always; }
        location /gzoff/ { alias DIR/www/gz/; }
        location /gztry/ { alias DIR/www/gz/; gzip_static on; try_files $uri $uri/ =404; }
        location /gzexp/ { alias DIR/www/gz/; gzip_static on; expires epoch; add_header X-A b; }

        location /links/ { disable_symlinks on; autoindex on; }
        location /links/off/ { alias DIR/www/links/; disable_symlinks off; }
        location /links/from/ { alias DIR/www/links/; disable_symlinks on from=DIR/www/links/inner; }
        location /links/all/ { alias DIR/www/links/; disable_symlinks on from=DIR/www/links/to_file; }
        location /links/elsewhere/ { alias DIR/www/links/; disable_symlinks on from=/nowhere; }
        location /links/owner/ { alias DIR/www/links/; disable_symlinks if_not_owner; }
        location /links/try/ { alias DIR/www/links/; disable_symlinks on; try_files $uri $uri/ /list/.hidden; }

        location /cs/ { alias DIR/www/cs/; charset utf-8; types { text/html html; text/css css; text/plain txt; text/xml xml;
            application/javascript js; application/rss+xml rss; image/png png; } }
        location /cs1/ { alias DIR/www/cs/; charset $arg_c; charset_types text/css; types { text/html html; text/css css;
            text/plain txt; } }
        location /cs2/ { alias DIR/www/cs/; charset koi8-r; charset_types *; }
        location /cs3/ { charset utf-8; return 200 "text"; default_type text/plain; }
        location /cs4/ { charset utf-8; return 404; }
        location /cs5/ { charset utf-8; return 301 /x; }
        location /cs6/ { charset utf-8; return 307 /x; }
        location /cs7/ { charset utf-8; default_type text/html; proxy_pass http://BACK; }
        location /cs8/ { charset utf-8; override_charset on; proxy_pass http://BACK; }
        location /cs9/ { charset utf-8; error_page 404 /cs/a.html; }

        location /kept/ { alias DIR/www/kept/; open_file_cache max=10 inactive=60s; open_file_cache_errors on; index none index.html;
            autoindex on; }
        location /kept2/ { alias DIR/www/kept/; open_file_cache max=2; open_file_cache_min_uses 2; try_files $uri $uri/ =404; }
        location /kept3/ { alias DIR/www/links/; open_file_cache max=4; disable_symlinks on; open_file_cache_errors on; }

        location /plainsend/ { alias DIR/www/; sendfile off; }
        location /chunks/ { alias DIR/www/; sendfile on; sendfile_max_chunk 64k; }

        location /app/ { try_files $uri $uri/ @app; }
        location @app { return 200 "app $uri $args"; }
        location /spa/ { try_files $uri /spa/index.html; }
        location /maintenance/ { error_page 503 @down; return 503; }
        location @down { root DIR/www/down; try_files /page.html =503; }
        location /errors/ { error_page 404 = @app; error_page 403 =404 /gone.html; try_files $uri =404; }
        location /nested/ { error_page 404 /none.html; error_page 405 =200 /spa/index.html; }
    }
"""


def make_site(directory: Path) -> None:
    """The files that both serve."""
    www = directory / "www"
    www.mkdir()
    www.chmod(0o755)
    names = {
        "list/.hidden": b"h",
        "list/a": b"",
        "list/Z.txt": b"z" * 9_999,
        "list/b&<c>\"'": b"12",
        "list/sp ace+%?#;:@!": b"1" * 10_000,
        "list/back\\slash": b"1" * 1_048_575,
        "list/" + "n" * 50: b"1" * 1_048_576,
        "list/" + "n" * 51: b"1" * 1_536,
        "list/" + "n" * 60: b"1" * 102_911,
        "list/\u0436" * 1: b"u",
        "list/" + "\u0436" * 49 + "x": b"u",
        "list/" + "\u0436" * 60: b"u",
        "list/tab\tline\n": b"c",
        "list/dir/x": b"x",
        "list/" + "d" * 49 + "/x": b"x",
        "list/" + "d" * 50 + "/x": b"x",
        "list/" + "d" * 55 + "/x": b"x",
        "indexed/index.html": b"index",
        "gz/a.html": b"plain plain plain",
        "gz/a.html.gz": b"GZ",
        "gz/only.js.gz": b"GZ only",
        "gz/c.css": b"css",
        "gz/d.txt": b"plain text",
        "gz/d.txt.gz/in": b"a directory in its place",
        "links/file": b"a file",
        "links/dir/file": b"deep",
        "links/inner/file": b"in",
        "cs/a.html": b"<p>hello</p>",
        "cs/a.css": b"a{}",
        "cs/a.txt": b"0123456789",
        "cs/a.xml": b"<a/>",
        "cs/a.js": b"1",
        "cs/a.rss": b"<r/>",
        "cs/a.png": b"png",
        "cs/none": b"none",
        "kept/a.txt": b"kept",
        "kept/b.txt": b"kept too",
        "kept/c.txt": b"kept three",
        "kept/dir/index.html": b"kept index",
        "kept/bare/x": b"x",
        "big": bytes(range(256)) * 2048,
        "app/here": b"here",
        "app/dir/index.html": b"index of app",
        "spa/index.html": b"the whole app",
        "spa/x.js": b"js",
        "down/page.html": b"down",
        "gone.html": b"gone",
    }  # fmt: skip
    for name, content in names.items():
        path = www / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (www / "hollow").mkdir()
    (www / "refused").mkdir()
    (www / "refused").chmod(0)
    os.symlink("nowhere", www / "list/dangling")
    os.symlink("ring", www / "list/ring")
    os.symlink("dir", www / "list/linked")
    os.mkfifo(www / "list/fifo")
    os.symlink("file", www / "links/to_file")
    os.symlink("dir", www / "links/to_dir")
    os.symlink("../dir", www / "links/inner/to_dir")
    os.symlink("nowhere", www / "links/dangling")
    os.symlink("to_file", www / "links/to_link")
    if os.geteuid() == 0:
        os.symlink("file", www / "links/foreign")
        os.chown(www / "links/foreign", 12345, 12345, follow_symlinks=False)
        os.symlink("dir", www / "links/foreign_dir")
        os.chown(www / "links/foreign_dir", 12345, 12345, follow_symlinks=False)
    for folder, folders, files in os.walk(www, topdown=False):
        for each in (*files, *folders):
            os.utime(os.path.join(folder, each), (THEN, THEN), follow_symlinks=False)


GZIP = "Accept-Encoding: gzip"
LISTS = [
    *(ask(f"/list/{kind}") for kind in ("", "json/", "jsonp/", "xml/", "about/", "local/", "utf8/", "koi/")),
    *(ask(f"/hollow/{kind}") for kind in ("", "json/", "xml/")),
    *(
        ask(f"/list/jsonp/?{args}")
        for args in (
            "callback=go", "callback=", "callback", "CALLBACK=a.b_C1", "callback=a-b", "callback=%61", "x=1&callback=go&callback=b",
            "callback=" + "a" * 128, "callback=" + "a" * 129, "callback=a;b", "xcallback=a",
        )
    ),
    *(ask(path, method="HEAD") for path in ("/list/", "/list/json/", "/list/xml/", "/hollow/")),
    *(ask(path, method="POST", body="x") for path in ("/list/", "/hollow/")),
    *(ask(path, method="PUT") for path in ("/list/", "/hollow/")),
    *(ask(path) for path in ("/list/linked/", "/list/linked", "/list/dir", "/list/nothing/", "/list/a/", "/list/fifo", "/indexed/")),
    ask("/list/", version="1.0"), ask("/list/", "Range: bytes=0-3"), ask("/list/", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
    ask("/refused/"), ask("/list%2f"), ask("/refused/none"),
]  # fmt: skip
COMPRESSED = [
    *(
        ask(f"/{place}/{name}", *fields)
        for place in ("gz", "gzalways", "gzoff", "gztry", "gzexp")
        for name in ("a.html", "only.js", "c.css", "d.txt", "none", "")
        for fields in ((), (GZIP,))
    ),
    *(
        ask("/gz/a.html", f"Accept-Encoding: {value}")
        for value in (
            "gzip, deflate, br", "br, gzip;q=0.5", "gzip;q=0", "gzip;q=0.0", "gzip;q=0.001", "deflate", "*", "GZIP", "identity", "",
        )
    ),
    ask("/gz/a.html", GZIP, version="1.0"), ask("/gz/a.html", GZIP, "Via: 1.1 x"),
    ask("/gz/a.html", GZIP, method="HEAD"), ask("/gz/a.html", GZIP, method="POST", body="x"),
    ask("/gz/a.html", GZIP, 'If-None-Match: "3b9aca00-2"'),
    ask("/gz/a.html", GZIP, 'If-None-Match: "3b9aca00-11"'), ask("/gz/a.html", 'If-None-Match: "3b9aca00-11"'),
    ask("/gz/a.html", GZIP, "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"), ask("/gz/a.html", GZIP, "If-Match: x"),
]  # fmt: skip
LINKS = [
    ask(f"/links/{place}{name}")
    for place in ("", "off/", "from/", "all/", "elsewhere/", "owner/", "try/")
    for name in (
        "file", "to_file", "to_link", "dangling", "dir/file", "to_dir/file", "to_dir/", "to_dir", "inner/file", "inner/to_dir/file",
        "foreign", "foreign_dir/file", "foreign_dir/", "dir/", "dir", "none", "none/x", "file/x", "inner/",
    )
]  # fmt: skip
CHARSETS = [
    *(ask(f"/{place}/{name}") for place in ("cs", "cs2") for name in ("a.html", "a.css", "a.txt", "a.xml", "a.js", "a.rss", "a.png", "none")),
    *(ask(f"/cs1/{name}?c={name_of}") for name in ("a.html", "a.css", "a.txt") for name_of in ("utf-8", "Koi8-R")),
    *(ask(path) for path in ("/cs3/", "/cs4/", "/cs5/", "/cs6/", "/cs/none/", "/cs9/x", "/cs/missing")),
    *(
        ask(f"/{place}/", *(f"X-Add: {line}" for line in lines))
        for place in ("cs7", "cs8")
        for lines in (
            (), ("Content-Type: text/html",), ("Content-Type: text/html; charset=koi8-r",), ("Content-Type: text/css",),
            ("Content-Type: TEXT/plain",), ("Content-Type: application/json",), ("Content-Type: text/xml; version=1",),
            ("Content-Type: text/html", "Content-Encoding: gzip"), ("Content-Type: text/html;charset=utf-8",),
            ('Content-Type: text/html; charset="koi8-r"',),
        )
    ),
    ask("/cs/a.txt", "Range: bytes=0-1"), ask("/cs/a.txt", "Range: bytes=0-1,4-5"), ask("/cs/a.png", "Range: bytes=0-0,2-2"),
    ask("/cs/a.txt", 'If-None-Match: *'), ask("/cs/a.html", method="HEAD"), ask("/cs/a.html", "Range: bytes=100-"),
]  # fmt: skip
KEPT = [
    ask(f"/{place}/{name}")
    for _ in range(3)
    for place in ("kept", "kept2")
    for name in ("a.txt", "b.txt", "c.txt", "dir/", "dir", "dir/index.html", "bare/", "bare", "none", "none/", "a.txt/x", "")
] + [ask(f"/kept3/{name}") for _ in range(2) for name in ("file", "to_file", "to_dir/file", "dir/file", "none", "dir")]  # fmt: skip
SENT = [
    *(ask(f"/{place}/big", *fields) for place in ("plainsend", "chunks") for fields in ((), ("Range: bytes=7-400000",))),
    *(ask(f"/{place}/big", "Range: bytes=0-99999,200000-", method=method) for place in ("plainsend", "chunks") for method in ("GET", "HEAD")),
]  # fmt: skip
IDIOMS = [
    *(ask(f"/app/{name}") for name in ("here", "dir/", "dir", "none", "none?x=1", "")),
    *(ask(f"/spa/{name}") for name in ("", "x.js", "route/deep", "index.html?x")),
    ask("/maintenance/x"), ask("/errors/x?y=1"), ask("/errors/", method="POST", body="x"), ask("/nested/x"),
    ask("/nested/x", method="PUT"), ask("/app/none", method="PUT"), ask("/spa/route", method="HEAD"), ask("/spa/route", method="POST", body="x"),
]  # fmt: skip


def test_directories_are_listed_as_nginx_lists_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, LISTS, "warn", make_site)


def test_compressed_files_are_sent_as_nginx_sends_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, COMPRESSED, "warn", make_site)


def test_symbolic_links_are_refused_as_nginx_refuses_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, LINKS, "warn", make_site)


def test_character_sets_are_named_as_nginx_names_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, CHARSETS, "warn", make_site)


def test_kept_files_are_answered_as_nginx_answers_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, KEPT, "warn", make_site)


def test_large_files_arrive_whole_however_they_are_sent(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, SENT, "warn", make_site)


def test_the_idioms_of_deployments_are_answered_as_nginx_answers_them(same_as_nginx: Comparison) -> None:
    same_as_nginx(CONFIGURATION, IDIOMS, "warn", make_site)
