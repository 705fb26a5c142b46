"""Texts that are recoded on their way, as the real nginx recodes them."""

from __future__ import annotations

import gzip

from filtered import Compare, answer, filtered_as_nginx
from like_nginx import ask, needs_nginx

__all__ = ["filtered_as_nginx"]

pytestmark = needs_nginx

MAPS = """
charset_map koi8-r utf-8 { C0 D18E; C1 D0B0; c2 d0b1; E0 D0AE; FF E2849E; 7e C2A0; }
charset_map windows-1251 koi8-r { E0 C1; e1 C2; FE C0; 40 24; }
"""
PLACES = """
server {
    listen 127.0.0.1:PORT; root DIR/www;
    types { text/html html; text/plain txt; text/css css; application/javascript js; }
    location /up/ { alias DIR/www/; charset utf-8; source_charset koi8-r; }
    location /down/ { alias DIR/www/; charset koi8-r; source_charset utf-8; }
    location /flat/ { alias DIR/www/; charset windows-1251; source_charset KOI8-R; }
    location /back/ { alias DIR/www/; charset koi8-r; source_charset windows-1251; charset_types text/css; }
    location /same/ { alias DIR/www/; charset utf-8; source_charset UTF-8; }
    location /var/ { alias DIR/www/; charset $arg_to; source_charset $arg_from; }
    location /off/ { alias DIR/www/; charset off; source_charset koi8-r; }
    location /gzip/ { alias DIR/www/; charset utf-8; source_charset koi8-r; gzip on; gzip_types *; gzip_min_length 1; gzip_vary on; }
    location /sub/ { alias DIR/www/; charset utf-8; source_charset koi8-r; sub_filter a "bb"; sub_filter_once off; }
    location /if/ { alias DIR/www/; charset off; if ($arg_z) { charset utf-8; source_charset koi8-r; } }
    location /text { charset utf-8; source_charset koi8-r; default_type text/plain; return 200 "a~b"; }
    location /error { charset utf-8; source_charset koi8-r; error_page 404 /up/koi.html; return 404; }
    location /proxied/ { charset utf-8; proxy_pass http://BACK/; }
    location /override/ { charset utf-8; override_charset on; proxy_pass http://BACK/; }
    location /both/ { charset koi8-r; source_charset windows-1251; override_charset on; proxy_pass http://BACK/; }
}
"""
KOI = bytes(range(0x20, 0x7F)) + b"\xc0\xc1\xc2\xe0\xff\x80\xfe"
UTF = "plain \u044e\u0430\u0431\u042e\u2122\u00a0 \u00e9\u00c1\u4e2d\u0416 end".encode()
FILES = {
    "koi.html": KOI, "koi.txt": KOI, "koi.css": KOI, "koi.js": KOI, "utf.html": UTF, "empty.html": b"", "none": KOI,
    "large.html": KOI * 2000, "largeutf.html": UTF * 3000,
}  # fmt: skip
ANSWERS = {
    "/koi": answer(KOI, "Content-Type: text/html; charset=koi8-r", 'ETag: "e"', "Accept-Ranges: bytes"),
    "/win": answer(b"\xe0\xe1\xfe@", "Content-Type: text/html; charset=Windows-1251"),
    "/utf": answer(UTF, "Content-Type: text/html; charset=UTF-8"),
    "/unknown": answer(b"x\xe0", "Content-Type: text/html; charset=mac"),
    "/unnamed": answer(b"x\xe0", "Content-Type: text/html"),
    "/css": answer(KOI, "Content-Type: text/css; charset=koi8-r"),
    "/packed": answer(gzip.compress(KOI, mtime=0), "Content-Type: text/html; charset=koi8-r", "Content-Encoding: gzip"),
    "/unframed": answer(KOI, "Content-Type: text/html; charset=koi8-r", length=False),
    "/404": answer(KOI, "Content-Type: text/html; charset=koi8-r", status="404 Not Found"),
}


def test_texts_are_recoded_as_in_nginx(filtered_as_nginx: Compare) -> None:
    cases = [
        *(
            ask(f"/{place}/{name}", method=method)
            for place in ("up", "down", "flat", "back", "same", "off", "sub", "if")
            for name in FILES
            if (place == "down") == name.endswith("utf.html")  # what is no UTF-8 gives other question marks
            for method in ("GET", "HEAD")
        ),
        *(ask(f"/var/koi.html?from={source}&to={wanted}") for source in ("koi8-r", "off", "", "x") for wanted in ("koi8-r", "KOI8-r", "utf-8", "y")),
        *(ask(f"/gzip/{name}", *fields) for name in ("koi.html", "koi.txt", "large.html") for fields in ((), ("Accept-Encoding: gzip",))),
        *(ask(path) for path in ("/text", "/error", "/if/koi.html?z=1", "/up/missing")),
        *(ask(f"/{place}/koi.txt", "Range: bytes=3-9") for place in ("up", "flat", "same", "off")),
        *(ask(f"/{place}/koi.txt", "Range: bytes=90-") for place in ("up", "flat")),
        *(ask("/up/koi.txt", field) for field in ("If-None-Match: *", "If-Match: x")),
        *(ask(f"/{place}{path}", method=method) for place in ("proxied", "override", "both") for path in ANSWERS for method in ("GET", "HEAD")),
    ]  # fmt: skip
    ours = filtered_as_nginx(MAPS + PLACES, cases, ANSWERS, FILES)
    assert sum("\u00d1\u008e\u00d0\u00b0" in each for each in ours) >= 5
    assert sum("&#20013;" in each for each in ours) >= 2
