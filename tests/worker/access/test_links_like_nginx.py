"""valid_referers and secure_link, by the real nginx: what their variables say about requests."""

from __future__ import annotations

import base64
import hashlib
import time

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

REFERERS = """
add_header X-Invalid "$invalid_referer" always;
server {
    listen 127.0.0.1:PORT;
    server_name app.example *.wild.example front.* ~^re[0-9]+\\.example$;
    location / { return 200 x; }
    location /names { valid_referers none blocked server_names; return 200 x; }
    location /host { valid_referers a.example; return 200 x; }
    location /none { valid_referers none a.example; return 200 x; }
    location /blocked { valid_referers blocked a.example; return 200 x; }
    location /wild { valid_referers *.a.example b.*; return 200 x; }
    location /dot { valid_referers .a.example; return 200 x; }
    location /path { valid_referers a.example/in/ *.b.example/Deep; return 200 x; }
    location /regex { valid_referers ~\\.example/ok ~^only$; return 200 x; }
    location /lines { valid_referers none; valid_referers a.example; return 200 x; }
    location /outer { valid_referers a.example; location /outer/in { return 200 x; } location /outer/own { valid_referers b.example; return 200 x; } }
    location /if { valid_referers a.example; if ($invalid_referer) { return 403; } return 200 in; }
    location /scheme { valid_referers http://a.example b.example; return 200 x; }
}
"""

GIVEN = [
    None,
    "",
    "x",
    "http://a.b",
    "http://a.example",
    "http://a.example/",
    "HTTPS://A.Example:8443/in/x",
    "http://a.example/in",
    "http://a.example:80/in/",
    "http://a.example/in/?q",
    "http://x.a.example/",
    "http://xa.example/",
    "http://b.example/",
    "http://b.example.org/",
    "http://b./x",
    "http://x.b.example/Deep/er",
    "http://x.b.example/deep",
    "http://app.example/",
    "http://x.wild.example/",
    "http://wild.example/",
    "http://front.anything/",
    "http://re12.example/",
    "http://rex.example/",
    "http://z.example/ok",
    "http://z.EXAMPLE/OK",
    "http://only",
    "https://only",
    "ftp://a.example/",
    "a.example/in/",
    "http:///a.example",
    "http://" + "a" * 256 + "/",
    "http://" + "a" * 257 + "/",
]


def test_pages_that_requests_come_from(same_as_nginx: Comparison):
    paths = [
        "",
        "names",
        "host",
        "none",
        "blocked",
        "wild",
        "dot",
        "path",
        "regex",
        "lines",
        "outer",
        "outer/in",
        "outer/own",
        "if",
        "scheme",
    ]
    cases = [
        ask(f"/{path}", *([] if value is None else [f"Referer: {value}"]), host="app.example")
        for path in paths
        for value in GIVEN
    ]
    same_as_nginx(REFERERS, cases)


LINKS = """
add_header X-Link "$secure_link|$secure_link_expires" always;
server {
    listen 127.0.0.1:PORT;
    location /md5 { secure_link $arg_h,$arg_e; secure_link_md5 "$secure_link_expires$uri secret"; return 200 "$secure_link"; }
    location /plain { secure_link $arg_h; secure_link_md5 "$uri secret"; return 200 "$secure_link"; }
    location /p/ { secure_link_secret secret; if ($secure_link = "") { return 403; } return 200 "$secure_link"; }
    location /half { secure_link $arg_h; return 200 "$secure_link"; }
    location / { return 200 "$secure_link"; }
}
"""


def test_links_that_only_we_can_have_made(same_as_nginx: Comparison):
    def hashed(text: str) -> str:
        return base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode()

    later, earlier = str(int(time.time()) + 3600), "1000000"
    cases = []
    for seconds in (later, earlier, "0", "-5", "x", "", "9" * 30, "007"):
        right = hashed(f"{seconds}/md5 secret")
        for digest in (right.rstrip("="), right, right[:-3], right + "x", right.upper(), "", "A" * 22, right.replace("-", "+")):
            cases.append(ask(f"/md5?h={digest}&e={seconds}"))
    right = hashed("/plain secret")
    for digest in (
        right.rstrip("="),
        right,
        right[:-3] + "AA",
        "",
        f"{right},{later}",
        f"{right},",
        f"{right},x",
        f"{right[:22]},{earlier}",
    ):
        cases.append(ask(f"/plain?h={digest}"))
    for link in ("file.txt", "dir/file.txt", "a?b=c", "a%20b"):
        digest = hashlib.md5(f"{link}secret".encode()).hexdigest()
        for given in (digest, digest.upper(), digest[:-1] + "0", digest[:-1], digest + "0", "g" * 32):
            cases.append(ask(f"/p/{given}/{link}"))
    cases += [ask(path) for path in ("/p/", "/p/x", "/p//x", "/half?h=x", "/other", "/p/" + "0" * 32)]
    same_as_nginx(LINKS, cases)
