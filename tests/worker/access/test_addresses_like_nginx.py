"""allow and deny, by the real nginx: which rule counts, which block's rules hold, and what is said."""

from __future__ import annotations

from like_nginx import Comparison, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

RULES = """
deny 10.0.0.0/8;
server {
    listen 127.0.0.1:PORT;
    location /outer { return 200 in; }
    location /static { root DIR; }
    location /in { allow 127.0.0.1; deny all; proxy_pass http://BACK; }
    location /out { deny 127.0.0.0/8; allow all; proxy_pass http://BACK; }
    location /first { deny all; allow 127.0.0.1; proxy_pass http://BACK; }
    location /last { deny 192.0.2.0/24; deny 127.0.0.2; deny 127.0.0.1; proxy_pass http://BACK; }
    location /other { deny ::1; deny unix:; proxy_pass http://BACK; }
    location /all { deny all; proxy_pass http://BACK; }
    location /all/inner { proxy_pass http://BACK; }
    location /open/ { deny all; location /open/inner { allow all; proxy_pass http://BACK; } location /open/same { proxy_pass http://BACK; } }
    location /half/ { allow 127.0.0.1; deny all; location /half/inner { deny 192.0.2.1; proxy_pass http://BACK; } }
    location /any { satisfy any; deny all; proxy_pass http://BACK; }
    location /page { error_page 403 /shown; deny all; }
    location /named { error_page 403 = @named; deny all; }
    location @named { return 200 named; }
    location /shown { return 200 shown; }
    location /methods { limit_except GET { deny all; } proxy_pass http://BACK; }
    location /rewritten { deny all; return 200 returned; }
    location /if { if ($arg_x) { set $y 1; } deny all; proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name whole;
    deny all;
    location / { proxy_pass http://BACK; }
    location /open { allow all; proxy_pass http://BACK; }
}
"""
PATHS = [
    "/outer",
    "/static",
    "/in",
    "/out",
    "/first",
    "/last",
    "/other",
    "/all",
    "/all/inner",
    "/open/",
    "/open/inner",
    "/open/same",
    "/half/",
    "/half/inner",
    "/any",
    "/page",
    "/named",
    "/rewritten",
    "/if",
    "/if?x=1",
    "/methods",
]


def test_rules_are_nginxs(same_as_nginx: Comparison):
    cases = [ask(path) for path in PATHS]
    cases += [ask(path, host="whole") for path in ("/", "/open")]
    cases += [ask("/methods", method=method) for method in ("HEAD", "POST", "DELETE")]
    same_as_nginx(RULES, cases, level="error")


def ask(path: str, method: str = "GET", host: str = "h") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
