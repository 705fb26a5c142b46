"""limit_req and limit_conn, by the real nginx: who is refused and why, what is said, what is said by their variables.

The rates are so low that no excess runs out while the tests run; so every excess is a whole number of requests.
"""

from __future__ import annotations

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

REQUESTS = """
limit_req_zone $arg_k zone=keys:1m rate=1r/m;
limit_req_zone $arg_j zone=others:1m rate=1r/m;
limit_req_zone $binary_remote_addr zone=clients:64k rate=1r/m;
limit_req_zone $host zone=hosts:32k rate=1r/m;
limit_req_zone "" zone=nothing:32k rate=1r/m;
limit_req_zone $limit_req_status zone=ring:32k rate=1r/m;
add_header X-Limit "$limit_req_status" always;
server {
    listen 127.0.0.1:PORT;
    location /one { limit_req zone=keys; proxy_pass http://BACK; }
    location /burst { limit_req zone=keys burst=2 nodelay; proxy_pass http://BACK; }
    location /status { limit_req zone=keys; limit_req_status 429; limit_req_log_level warn; proxy_pass http://BACK; }
    location /closed { limit_req zone=keys; limit_req_status 444; proxy_pass http://BACK; }
    location /odd { limit_req zone=keys; limit_req_status 598; proxy_pass http://BACK; }
    location /dry { limit_req zone=keys burst=2; limit_req_dry_run on; proxy_pass http://BACK; }
    location /drydelay { limit_req zone=keys burst=5 delay=2; limit_req_dry_run on; limit_req_log_level notice; proxy_pass http://BACK; }
    location /both { limit_req zone=keys burst=1 nodelay; limit_req zone=others burst=3 nodelay; proxy_pass http://BACK; }
    location /drywait { limit_req zone=keys burst=9; limit_req zone=others burst=9 delay=1; limit_req_dry_run on; proxy_pass http://BACK; }
    location /none { limit_req zone=nothing; proxy_pass http://BACK; }
    location /page { limit_req zone=keys; error_page 503 /sorry; proxy_pass http://BACK; }
    location /named { limit_req zone=keys; error_page 503 = @sorry; proxy_pass http://BACK; }
    location /sorry { limit_req zone=keys; proxy_pass http://BACK/sorry?; }
    location @sorry { limit_req zone=keys; proxy_pass http://BACK; }
    location /file { limit_req zone=keys; root DIR; }
    location /returned { limit_req zone=keys; return 200 "$limit_req_status"; }
    location /denied { limit_req zone=keys; deny all; proxy_pass http://BACK; }
    location /tried { limit_req zone=keys; try_files /nothing /one; root DIR; }
    location /methods { limit_except GET { deny all; } limit_req zone=keys; proxy_pass http://BACK; }
    location /if { if ($arg_x) { set $y 1; } limit_req zone=keys; proxy_pass http://BACK; }
    location /ring { limit_req zone=ring; proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name whole;
    limit_req zone=clients;
    limit_req zone=hosts burst=1 nodelay;
    location / { proxy_pass http://BACK; }
    location /own { limit_req zone=keys; proxy_pass http://BACK; }
    location /own/deep { proxy_pass http://BACK; }
}
"""

CONNECTIONS = """
limit_conn_zone $arg_c zone=under_way:1m;
limit_conn_zone $arg_d zone=also:32k;
limit_conn_zone $http_host zone=asked:32k;
limit_req_zone $http_host zone=asking:32k rate=1r/m;
add_header X-Limit "$limit_conn_status" always;
server {
    listen 127.0.0.1:PORT;
    location /one { limit_conn under_way 1; proxy_pass http://BACK; }
    location /two { limit_conn under_way 1; limit_conn also 2; proxy_pass http://BACK; }
    location /again { limit_conn under_way 1; error_page 404 /one; proxy_intercept_errors on; proxy_pass http://BACK; }
    location /file { limit_conn under_way 1; root DIR; }
    location /asked { auth_request /asks; proxy_pass http://BACK; }
    location /asks { limit_conn asked 1; proxy_pass http://BACK; }
    location /often { auth_request /asksoften; proxy_pass http://BACK; }
    location /asksoften { limit_req zone=asking; proxy_pass http://BACK; }
}
"""


def test_requests_that_come_too_early(same_as_nginx: Comparison):
    cases = [ask(f"/one?k={key}") for key in ("a", "a", "b", "", "a")]
    cases += [ask(f"/burst?k={key}") for key in ("c", "c", "c", "c", "a")]
    for path in ("status", "closed", "odd", "page", "named", "file", "returned", "denied", "tried", "methods", "if"):
        cases += [ask(f"/{path}?k={path}")] * 3
    cases += [ask("/methods?k=post", method="POST")] * 2
    cases += [ask("/if?k=if2&x=1")] * 2
    cases += [ask("/none")] * 2 + [ask("/ring")] * 2
    cases += [ask("/", host="whole")] * 2 + [ask("/own?k=own", host="whole")] * 2 + [ask("/own/deep?k=own", host="whole")]
    same_as_nginx(REQUESTS, cases, level="notice")


def test_several_limits_in_one_location(same_as_nginx: Comparison):
    cases = [ask(f"/both?k={k}&j={j}") for k, j in ("aa", "aa", "aa", "ba", "ca", "da", "ea", "fb", "fb", "fb")]
    cases += [ask("/both?k=z"), ask("/both?k=z"), ask("/both?k=z"), ask("/both?j=z"), ask("/both")]
    same_as_nginx(REQUESTS.replace("zone=keys", "zone=keys2").replace("zone=others", "zone=others2"), cases, level="notice")


def test_what_would_be_delayed_or_refused_is_only_said(same_as_nginx: Comparison):
    cases = [ask("/dry?k=a")] * 5 + [ask("/drydelay?k=b")] * 8
    cases += [ask(f"/drywait?k={k}&j={j}") for k, j in ("cc", "dc", "dc", "dc", "ee", "ff", "ff")]
    same_as_nginx(REQUESTS.replace("zone=keys", "zone=keys3").replace("zone=others", "zone=others3"), cases, level="notice")


def test_keys_of_requests_that_are_too_long(same_as_nginx: Comparison):
    head = "large_client_header_buffers 4 128k;"
    long, longer = "k" * 65535, "k" * 65536
    cases = [ask(f"/one?k={key}") for key in (long, long, "a", longer, longer)]
    same_as_nginx(head + REQUESTS.replace("zone=keys", "zone=keys4"), cases, level="crit")


def test_keys_of_connections_that_are_too_long(same_as_nginx: Comparison):
    cases = [ask(f"/one?c={'c' * 255}"), ask(f"/one?c={'c' * 256}"), ask(f"/one?c={'c' * 256}")]
    same_as_nginx(CONNECTIONS.replace("under_way", "under_way2"), cases, level="notice")


def test_requests_under_way_are_given_back(same_as_nginx: Comparison):
    cases = [ask("/one?c=a"), ask("/one?c=a"), ask("/two?c=a&d=b"), ask("/two?c=a"), ask("/two"), ask("/file?c=a")]
    cases += [ask("/again?c=a", "X-Status: 404 Not Found")] * 2
    cases += [ask("/asked")] * 3 + [ask("/often")] * 2
    same_as_nginx(CONNECTIONS, cases, level="notice")
