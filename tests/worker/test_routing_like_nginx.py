"""Routing, asked of this worker and of the real nginx: locations, rewriting, error pages and what goes upstream.

Where nginx 1.22 differs from the pages (which describe 1.31) or where we are stricter on purpose, the test is in
test_routing.py, without an oracle.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from like_nginx import Comparison, as_before_1_27, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

# proxy.md §1.1.
PROXY_PASS = r"""
upstream named { server BACK; }
server {
    listen 127.0.0.1:PORT;
    location /api/ { proxy_pass http://BACK; }
    location /strip/ { proxy_pass http://BACK/; }
    location /bare { proxy_pass http://BACK/; }
    location /p/ { proxy_pass http://BACK/new; }
    location /pq/ { proxy_pass http://BACK/n?x=1; }
    location = /e { proxy_pass http://BACK/ex; }
    location = /es/ { proxy_pass http://BACK/ex; }
    location = /ez/ { proxy_pass http://BACK; }
    location /esc/ { proxy_pass http://BACK/x%20y/; }
    location /r/ { rewrite ^/r/(.*)$ /x/$1 break; proxy_pass http://BACK/u/; }
    location /r2/ { rewrite ^/r2/(.*)$ /x/$1 break; proxy_pass http://BACK; }
    location /r3/ { rewrite ^/r3/(.*)$ /x/$1?new=1 break; proxy_pass http://BACK; }
    location /r4/ { rewrite ^/r4/(.*)$ /x/$1? break; proxy_pass http://BACK; }
    location /r5/ { rewrite ^/r5/(.*)$ /strip/$1 last; proxy_pass http://BACK; }
    location /r6/ { rewrite ^/r6/nothing$ /x break; proxy_pass http://BACK/u/; }
    location /r7/ { rewrite ^/r7/(.*)$ /r7/again/$1; break; proxy_pass http://BACK/u/; }
    location /r8/ { break; proxy_pass http://BACK/u/; }
    location /r9/ { rewrite ^/r9/(.*)$ $1 break; proxy_pass http://BACK; }
    location /args/ { set $args "a=b"; proxy_pass http://BACK; }
    location /args2/ { set $args "a=b"; proxy_pass http://BACK/u/; }
    location /args3/ { set $args ""; proxy_pass http://BACK; }
    location /try/ { try_files /none @named; }
    location /try2/ { try_files /none /strip/tried?x=1; }
    location /try3/ { try_files /none /api/tried; }
    location @named { proxy_pass http://BACK; }
    location /unix/ { proxy_pass http://unix:SOCK:/uu/; }
    location /unix2/ { proxy_pass http://unix:SOCK; }
    location /group/ { proxy_pass http://named; }
    location /group2/ { proxy_pass http://NAMED/x/; }
    location ~ ^/re/(.*)\.php$ { proxy_pass http://BACK; }
    location ~ ^/var1/(.*) { proxy_pass http://BACK/fix/$1; }
    location ~ ^/var2/(.*) { proxy_pass http://BACK/fix/$1$is_args$args; }
    location /var3/ { set $b BACK; proxy_pass http://$b; }
    location /var4/ { set $b BACK; proxy_pass http://$b/fix; }
    location /var5/ { set $b BACK; proxy_pass http://$b?x=1; }
    location /var6/ { set $b named; proxy_pass http://$b/; }
    location /var7/ { set $b named; proxy_pass http://$b$request_uri; }
    location /var8/ { set $b http; proxy_pass $b://BACK; }
    location /var9/ { set $b ftp; proxy_pass $b://BACK; }
    location /var10/ { set $b BACK; rewrite ^/var10/(.*) /n/$1 break; proxy_pass http://$b; }
    location /var11/ { set $b nowhere.invalid; proxy_pass http://$b; }
    location /var12/ { set $b SOCK; proxy_pass http://unix:$b:/z/; }
    location /var13/ { set $b SOCK; proxy_pass http://unix:$b; }
    location /var14/ { set $b ""; proxy_pass $b; }
    location /var15/ { set $b BACK; proxy_pass http://$b$uri; }
    location /if/ { if ($arg_a) { set $x 1; } proxy_pass http://BACK/u/; }
    location /if2/ { if ($arg_a) { proxy_pass http://BACK; } proxy_pass http://BACK/u/; }
    location /if3/ { if ($arg_a) { rewrite ^/if3/(.*) /w/$1 break; } proxy_pass http://BACK/u/; }
    location /if4/ { if ($arg_a) { rewrite ^/if4/(.*) /strip/$1 last; } proxy_pass http://BACK/u/; }
    location /if5/ { if ($arg_a) { break; } set $args "c=d"; proxy_pass http://BACK/u/; }
    location /if6/ { if ($arg_a) { set $x 1; } if ($arg_b) { proxy_pass http://BACK; } proxy_pass http://BACK/u/; }
    location /if7/ { if ($arg_a) { return 403; } proxy_pass http://BACK/u/; }
    location /if8/ { if ($arg_a) { proxy_pass http://BACK; } }
    location /le/ { limit_except GET { proxy_pass http://BACK; } proxy_pass http://BACK/u/; }
    location /le2/ { limit_except GET POST { proxy_pass http://BACK; } proxy_pass http://BACK/u/; }
    location /le3/ { limit_except HEAD { proxy_pass http://BACK; } return 200 rest; }
    location /slash/ { proxy_pass http://BACK/; }
    location /outer/ { location /outer/in/ { proxy_pass http://BACK/x/; } }
    location ~ ^/rex/ { location ~ /rex/deep { proxy_pass http://BACK; } }
    location /set/ { proxy_set_header Host $http_host; proxy_set_header X-A a; proxy_set_header X-Empty ""; proxy_set_header x-b "$arg_b"; proxy_pass http://BACK; }
    location /set2/ { proxy_set_header Content-Length ""; proxy_set_header X-Cut ""; proxy_pass http://BACK; }
    location /set3/ { proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-H $proxy_host:$proxy_port; proxy_pass http://BACK; }
    location /none/ { proxy_pass_request_headers off; proxy_pass http://BACK; }
    location /index/ { index nope; }
}
"""
TAILS = ["", "a%20b?q", "x", "/x/./%2Fy", "a%3Fb", "a%3fb?c=%20", "a?", "a?b?c", "a+b%2Bc", "%25", "a%2e%2e/b", "../up/x",
         "%e4%bd%a0", "\xe4\xbd", "a\"<>\\^`{|}b", "a\"<>\\^`{|}%20b", "a;b=c&d", "a%23x?y", "a%7e%26", "a.php?x"]  # fmt: skip
PLACES = ["api", "strip", "bare", "p", "pq", "esc", *(f"r{n}" if n else "r" for n in (0, 2, 3, 4, 5, 6, 7, 8, 9)), "args", "args2",
          "args3", "try", "try2", "try3", "unix", "unix2", "group", "group2", "re", *(f"var{n}" for n in range(1, 16)),
          "if", "if2", "if3", "if4", "if5", "if6", "if7", "le", "le2", "outer/in", "rex/deep"]  # fmt: skip


def test_the_target_sent_upstream(same_as_nginx: Comparison) -> None:
    # Those we refuse and nginx sends: a space or control that a variable brings into the request line.
    unsafe = {("var1", "a%20b?q"), ("var2", "a%20b?q"), ("var15", "a%20b?q"), ("var1", 'a"<>\\^`{|}%20b')}
    unsafe |= {("var2", 'a"<>\\^`{|}%20b'), ("var15", 'a"<>\\^`{|}%20b')}
    cases = [ask(f"/{place}/{tail}") for place in PLACES for tail in TAILS if (place, tail) not in unsafe]
    same_as_nginx(PROXY_PASS, cases)


def test_the_head_sent_upstream(same_as_nginx: Comparison) -> None:
    cases = [
        *("/barex", "/bare", "/e", "/e?k", "/e?", "/es", "/es?a", "/ez", "/ez/?k", "/slash", "/slash?a=%20b", "/slash?", "/sl%61sh"),
        *("/outer/in", "/outer", "/rex/deep?x", "/if/x?a=1", "/if2/x?a=1", "/if3/x?a=1", "/if4/x?a=1", "/if5/x?a=1", "/if6/x?a=1"),
        *("/if6/x?b=1", "/if6/x?a=1&b=1", "/if7/x?a=1", "/if8/x?a=1", "/if8/x", "/if8", "/if3/%20x?a=1", "/if2/%20x?a=1"),
        *(ask(f"/{place}/x", method=method) for place in ("le", "le2", "le3") for method in ("GET", "HEAD", "POST", "PUT", "WEIRD")),
        *(ask(f"/{place}/x?b=v", "X-Cut: 1", "X-Keep: 1", "X-A: own", "TE: trailers", "Expect: 1", "Trailer: x", "Te: x",
              "X-Forwarded-For: 1.2.3.4", "Keep-Alive: 3", "Accept-Encoding: gzip", "X_under: 1", "X-Forwarded-For: 5.6.7.8",
              "Upgrade: x", "Proxy-Authorization: y") for place in ("api", "set", "set2", "set3", "none")),
        *(ask(f"/{place}/x", method="POST", body="hello") for place in ("api", "set", "none", "try", "try2", "try3", "r5")),
        ask("/api/x", "Content-Length: 0", method="POST"), ask("/api/x", method="POST"), ask("/api/x", "Content-Length: 0"),
        ask("http://other:81/api/x?y"), ask("http://other"), ask("http://other?x"), ask("http://other/api/../strip/%41?"),
        ask("/api/x", version="1.0"), ask("/api/x", method="M-SEARCH"), ask("/api/x", method="OPTIONS"),
        ask("/api//x/../y?z"), ask("/api/./x"), ask("//api//x"), ask("//strip//x//"), ask("/strip/x/.."), ask("/strip/."),
    ]  # fmt: skip
    same_as_nginx(PROXY_PASS, cases)


# routing.md §2.2 to §2.4, §3.2.
SELECTION = r"""
server {
    listen 127.0.0.1:PORT default_server;
    server_name _;
    default_type text/plain;
    absolute_redirect off;
    location / { return 200 "default / $uri $args [$request_uri] $host $is_args"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name exact.test .dot.test *.star.test tail.* a.long.star.test;
    server_name "" ~^re(?<n>\d+)\.test$ ~^Upper$;
    default_type text/plain;
    location / { return 200 "two $server_name $host n=$n 1=$1"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name *.long.star.test tail.x.* ~^re1 ~^(.)only$;
    default_type text/plain;
    location / { return 200 "three $server_name $host 1=$1"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name s.test;
    default_type text/plain;
    root DIR/www;
    location = /exact { return 200 "= /exact"; }
    location = / { return 200 "= /"; }
    location /exact { return 200 "/exact $uri"; }
    location /a/ { return 200 "/a/"; location /a/b/ { return 200 "/a/b/"; location ~ c$ { return 200 "/a/b/ ~c"; } } location ~ d$ { return 200 "/a/ ~d"; } }
    location ^~ /n/ { return 200 "^~ /n/"; location ~ inner { return 200 "^~ /n/ ~inner"; } location /n/deep/ { return 200 "/n/deep/"; location ~ \.g$ { return 200 "deep ~g"; } } }
    location /m/ { return 200 "/m/"; location ^~ /m/no/ { return 200 "^~ /m/no/"; } location ~ mm { return 200 "/m/ ~mm"; } location = /m/eq.g { return 200 "= /m/eq.g"; } }
    location ~ \.g$ { return 200 "~ .g"; }
    location ~* \.CASE$ { return 200 "~* .CASE"; }
    location ~ \.Case$ { return 200 "~ .Case"; }
    location ~ ^/re/(?<word>[^/]+)/(.*)$ { return 200 "re $word 1=$1 2=$2"; location ~ ^/re/x/(y) { return 200 "re in $1 $word"; } }
    location ~ ^/first { return 200 first; }
    location ~ ^/first/second { return 200 second; }
    location /int/ { internal; return 200 "in"; location /int/sub { return 200 "sub"; } }
    location /goint { rewrite ^ /int/x last; }
    location /goint2 { try_files /nope /int/sub; }
    location = /int2 { internal; }
    location /le { limit_except GET { proxy_pass http://BACK; } return 200 "le"; }
    location /le2 { limit_except POST PUT { proxy_pass http://BACK; } proxy_pass http://BACK; }
    location /le3 { limit_except GET HEAD { proxy_pass http://BACK; } set $x 1; return 200 "le3 $x"; }
    location /sp%20ace { return 200 "never"; }
    location "/sp ace" { return 200 "sp ace $uri"; }
    location /sl/ { proxy_pass http://BACK; }
    location = /se/ { proxy_pass http://BACK; }
    location /sn/ { proxy_pass http://BACK; }
    location /sn { return 200 "sn"; }
    location /so/ { proxy_pass http://BACK; }
    location = /so { return 200 "= so"; }
    location /si/ { if ($arg_a) { proxy_pass http://BACK; } return 200 si; }
    location /sw { location /sw/in/ { proxy_pass http://BACK; } return 200 "sw $uri"; }
    location ~ ^/sr$ { return 200 "sr"; }
    location /sr/ { proxy_pass http://BACK; }
    location ^~ /st/ { proxy_pass http://BACK; }
    location /sl%20x/ { proxy_pass http://BACK; }
    location "/sl y+/" { proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name m.test;
    merge_slashes off;
    location / { return 200 "$uri"; }
    location /x//y { return 200 "double"; }
    location /p/ { proxy_pass http://BACK/; }
}
"""


def test_virtual_servers_and_hosts(same_as_nginx: Comparison) -> None:
    hosts = ["exact.test", "EXACT.test", "exact.test.", "exact.test:8080", "exact.test.:1", "exact.test:", "dot.test", "x.dot.test", "x.y.dot.test",
             "star.test", "q.star.test", "q.r.star.test", "a.long.star.test", "b.long.star.test", "c.b.long.star.test", "long.star.test",
             "tail.com", "tail.co.uk", "tail.x.com", "tail.x.y.z", "tail", "re12.test", "re1.test", "re1", "Upper", "upper", "UPPER", "xonly",
             "unknown", "127.0.0.1", "[::1]", "[::1]:80", "a..b", ".", "..", "a_b", "a b", "a/b",
             "-", "~", "xn--e1afmkfd.test", "h:", ".star.test"]  # fmt: skip
    cases = [ask("/", host=host) for host in hosts]
    cases += [
        b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET http://exact.test/x HTTP/1.1\r\nConnection: close\r\n\r\n",
        *(ask(f"{scheme}://{host}/x?y", host="unknown") for scheme in ("http", "https", "HTTP") for host in
          ("exact.test", "EXACT.test:81", "re12.test", "exact.test.", "a_b", "", "a:x", "[::1]", "a..b", "u@h")),
        ask("http://exact.test", host="a b"), ask("http://exact.test?q=1"), ask("http://exact.test/../x"),
    ]  # fmt: skip
    same_as_nginx(SELECTION, cases)


def test_the_page_of_a_refusal_is_of_the_server_that_host_names(same_as_nginx: Comparison) -> None:
    servers = "".join(
        f'server {{ listen 127.0.0.1:PORT; server_name {name}; error_page 400 /e; location = /e {{ return 200 "{answer}"; }} }}'
        for name, answer in (("default", 1), ("exact.test", 2), ("~^re[0-9]$", 3))
    )
    bad = [b"A B: c", b"Content-Length: x", b"X: a\0b", b"Content-Length: 1\r\nTransfer-Encoding: chunked"]
    hosts = [b"exact.test", b"EXACT.test.:80", b"re1", b"other"]
    lines = [(b"Host: " + host, field) for host in hosts for field in bad]
    lines += [(b"Content-Length: x", b"Host: exact.test"), (b"Host: exact.test", b"Host: re1"), (b"Host: a..b",), (b"X: y",)]
    end = b"\r\nConnection: close\r\n\r\n"
    same_as_nginx(servers, [b"GET / HTTP/1.1\r\n" + b"\r\n".join(fields) + end for fields in lines])


def test_normalised_uris(same_as_nginx: Comparison) -> None:
    targets = ["/", "//", "///a", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/..", "/../x", "/a/../../x", "/.", "/./", "/.a", "/..a", "/...",
               "/a/.../b", "/a/..b/c", "/%41%62", "/%2e", "/%2E%2e/x", "/a/%2e%2e/b", "/a%2fb", "/a%2f..%2fb", "/a%2F%2e%2E%2fb", "/%2f%2f", "/a%252e",
               "/%00", "/a%0", "/a%", "/a%g1", "/a%1g", "/a%0ab", "/a%20b", "/a%7fb", "/a+b", "/a%3fb?c", "/a?b/../c", "/a?%zz", "/a?%00", "/a??", "/a?b?c",
               "/a?", "/a%23b", "/\xff\xfe", "/%ff", "/a\"b", "/a<b>", "/a\\b", "/a^b`{|}", "/a;b/../c", "/a/b/c/../../..", "/a/b/../../../x", "/a//../b",
               "/a/%2e/b", "/a/.%2e/b", "/a/%2e.", "/x%2f%2e", "/%2e%2e%2f", "/a:b@c", "/~a", "/%7Ea", "/a%5cb", "/a/..?x", "/a/.?x", "/./a", "/a%", "/a%2"]  # fmt: skip
    cases = [ask(target) for target in targets]
    cases += [
        ask(target, host="m.test")
        for target in ["//", "/a//b", "/a//../b", "/a/..//b", "/x//y", "/x/%2fy", "/a/./b", "/p//x", "/p/a//../b%20", "/..//"]
    ]
    same_as_nginx(SELECTION, cases)


def test_request_lines(same_as_nginx: Comparison) -> None:
    end = b"\r\nHost: h\r\nConnection: close\r\n\r\n"
    lines = [b"GET / HTTP/1.1", b"\r\n\r\nGET / HTTP/1.1", b"\n\nGET / HTTP/1.1", b"M_X-Y / HTTP/1.1", b"get / HTTP/1.1", b"G1T / HTTP/1.1",
             b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET x HTTP/1.1", b"GET  HTTP/1.1", b"GET / HTTP/2.0", b"GET / HTTP/3.1", b"GET / HTTP/11.1", b"GET / HTTP/0.9",
             b"GET / http/1.1", b"GET / HTTX/1.1", b"GET / HTTP/1.", b"GET / HTTP/1", b"GET / HTTP/.1", b"GET / HTTP/1.1x",
             b"GET /\x01 HTTP/1.1", b"GET /a\tb HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /\x7f HTTP/1.1",
             b"TRACE / HTTP/1.1", b"TRACE http://h/ HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1.2",
             b"GET / HTTP/1.9", b"GET http:/h HTTP/1.1", b"GET http:// HTTP/1.1", b"GET 1ttp://h/ HTTP/1.1",
             b"HEAD / HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"GET /%zz HTTP/1.1", b"POST / HTTP/1.1",
             b"GET /" + b"x" * 9000 + b" HTTP/1.1", b"GET / HTTP/1.1\r\nX: " + b"x" * 9000,
             b"GET / HTTP/1.0", b"HEAD / HTTP/1.0"]  # fmt: skip
    same_as_nginx(SELECTION, [line + end for line in lines])


def test_locations(same_as_nginx: Comparison) -> None:
    targets = ["/", "/exact", "/exactly", "/exact/", "/EXACT", "/a/", "/a/x", "/a/x.g", "/a/bd", "/a/b/", "/a/b/c", "/a/b/cd", "/a/b/x.g", "/a/b/xd", "/n/", "/n/x.g",
               "/n/inner", "/n/deep/x", "/n/deep/x.g", "/n/deep/inner", "/m/", "/m/no/x", "/m/no/mm", "/m/no/mm.g", "/m/no/x.g", "/m/xmm", "/m/xmm.g", "/m/x.g",
               "/m/eq.g", "/x.g", "/x.case", "/x.Case", "/x.CASE", "/re/x/y", "/re/x/z", "/re/x/zz", "/re/q/w", "/re/%41/%20b", "/re/x/y.g", "/first", "/first/second",
               "/int/", "/int/x", "/int/sub", "/goint", "/goint2", "/int2", "/le", "/sp%20ace", "/sp%2520ace", "/sl", "/sl?x=%20", "/sl/", "/sl/y", "/slx", "/se", "/se/", "/se/x",
               "/sn", "/sn/", "/so", "/so/", "/si", "/si?a=1", "/si/?a=1", "/sw", "/sw/in", "/sw/in?b", "/sw/inx", "/sw/in/", "/sr", "/sr/", "/st", "/st/", "/sl%20x", "/sl%2520x",
               "/sl%20y+", "/sl%20y%2b?c+d", "/none", "//sl", "/x/../sl", "/%73l"]  # fmt: skip
    cases = [ask(target, host="s.test") for target in targets]
    cases += [ask(target, host="s.test", method=method) for target in ("/le", "/le2", "/le3", "/sl", "/int/x", "/a/", "/none")
              for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "X-OWN")]  # fmt: skip
    same_as_nginx(SELECTION, cases)


# routing.md §3.7.
REWRITING = r"""
map $arg_m $mapped { default none; ~^r(.)$ "map:$1"; x y; }
server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    root DIR/www;
    location = /show { return 200 "$uri|$args|$request_uri|$is_args|$arg_a"; }
    location /show/ { return 200 "show $uri|$args|$is_args"; }
    location = /1 { rewrite ^ /show; }
    location = /2 { rewrite ^ /show?; }
    location = /3 { rewrite ^ /show?x=1; }
    location = /4 { rewrite ^ /show?x=1?; }
    location = /5 { rewrite ^ /show?x=$arg_a last; }
    location = /6 { rewrite ^ /show??; }
    location = /7 { rewrite ^ "/show/a b" last; }
    location /8/ { rewrite ^/8/(.*)$ /show/$1 last; }
    location /9/ { rewrite ^/9/(.*)$ /show/x?c=$1 last; }
    location /10/ { rewrite ^/10/(?<named>.*)$ /show/x?c=$named last; }
    location /11/ { rewrite ^/11/(.*)$ http://other/$1; }
    location /12/ { rewrite ^/12/(.*)$ http://other/$1?; }
    location /13/ { rewrite ^/13/(.*)$ http://other/x?a=$1 permanent; }
    location /14/ { rewrite ^/14/(.*)$ /r/$1 permanent; }
    location /15/ { rewrite ^/15/(.*)$ /r/$1?x=1 redirect; }
    location /16/ { rewrite ^/16/(.*)$ /r/$1? redirect; }
    location /17/ { rewrite ^/17/(.*)$ $scheme://other/$1; }
    location /18/ { rewrite ^/18/(.*)$ https://other/$1 last; }
    location /19/ { rewrite ^/19/(?<nm>.*)$ http://other/$nm; }
    location /20/ { rewrite ^ http://other$uri; }
    location /21/ { rewrite ^ http://other$request_uri?; }
    location /22/ { rewrite ^/22/(.*)$ r/$1 redirect; }
    location /23/ { rewrite ^/23/(.*)$ show/$1 last; return 200 "23 $uri"; }
    location /24/ { set $a $1; rewrite ^/24/(.*)$ /24x/$1; set $b $1; rewrite ^/24x/x(.*)$ /show/$1 break; return 200 "a=$a b=$b $uri 1=$1"; }
    location /25/ { rewrite ^/25/(.*)$ /25b/$1 break; rewrite ^ /never; return 200 never; }
    location /26/ { rewrite ^/26/(.*)$ /show/$1; rewrite ^/show/(.*)$ /show/twice/$1; }
    location /27/ { rewrite ^/27/(.*)$ /show/$1 last; rewrite ^ /never; }
    location /28/ { rewrite ^/28/nothing$ /x last; return 200 "28 $1"; }
    location /29/ { rewrite ^/29/(a)(b)?(c)? /show/1=$1,2=$2,3=$3,4=$4 last; }
    location /30/ { rewrite ^/30/(.*)$ /show/$1; break; return 200 no; }
    location /31/ { rewrite ^/31/ $1 last; }
    location /32 { rewrite ^/32/(.*)$ /show?q=${arg_a}z&u=$uri last; }
    location /33/ { rewrite ^/33/(.*)/(.*)$ /show/$2/$1?$2=$1&$args? last; }
    location /34/ { rewrite ^/34/(.*)$ /loop/$1 last; }
    location /loop/ { rewrite ^/loop/(.*)$ /loop/x$1 last; }
    location /35/ { rewrite ^(?i)/35/(CASE)$ /show/$1 last; return 200 "no"; }
    location /36/ { rewrite "^/36/(\d{2,3})$" /show/n$1 last; return 200 "no"; }
    location /37/ { rewrite ^/37/(.*)$ /r?$1 redirect; }
    location /38/ { rewrite ^ /r?x? redirect; }
    location /39/ { absolute_redirect off; rewrite ^ /r redirect; }
    location /40/ { rewrite ^/40/(.*)$ /show/$1%20$1 last; }
    location /41/ { rewrite ^/41/(.*)$ /r/$1%20b%26 redirect; }
    location /set/1/ { set $a "$arg_a-$uri"; set $b "$a$a"; return 200 "$b"; }
    location ~ ^/set/2/(.*)$ { set $a $1; set $b "[$1]"; set $c $1$1; return 200 "$a $b $c $1"; }
    location ~ ^/set/3/(?<nn>.*)$ { set $a $nn; return 200 "$a $nn"; }
    location /set/4/ { set $never_here 1; return 200 "$nowhere|$Never_Here|"; }
    location /set/5/ { if ($arg_a) { set $nowhere 1; } return 200 "<$nowhere>"; }
    location /set/6/ { uninitialized_variable_warn off; if ($arg_a) { set $nowhere 1; } return 200 "<$nowhere><$nowhere>"; }
    location /set/7/ { set $args "x=$arg_a"; return 200 "$args|$arg_x|$query_string|$is_args"; }
    location /set/8/ { set $args ""; return 200 "$args|$is_args"; }
    location /set/9/ { set $v 1; rewrite ^ /set/shown; }
    location /set/shown { return 200 "v=$v"; }
    location /set/10/ { set $m $mapped; return 200 "$m|$mapped|$1"; }
    location ~ ^/set/11/(.*) { return 200 "$mapped|$1"; }
    location /set/12/ { set $a "\$x"; set $b 'single $uri'; set $c dollar${uri}brace; return 200 "$b|$c"; }
    location /if/1/ { if ($arg_a) { return 200 true; } return 200 false; }
    location /if/2/ { if ($arg_a = b) { return 200 eq; } if ($arg_a != c) { return 200 ne; } return 200 c; }
    location /if/3/ { if ($arg_a ~ ^(x)(y)?$) { return 200 "m $1,$2,$3"; } return 200 "no <$1>"; }
    location /if/4/ { if ($arg_a ~* ^X) { return 200 "m"; } if ($arg_a !~ z) { return 200 "no z"; } if ($arg_a !~* ^Z) { return 200 "no Z"; } return 200 "starts z"; }
    location ~ ^/if/5/(.*)$ { if ($arg_a ~ x) { set $t $1; return 200 "x <$1>"; } return 200 "no <$1>"; }
    location /if/6/ { if (-f $document_root$uri) { return 200 f; } if (-d $document_root$uri) { return 200 d; } if (-e $document_root$uri) { return 200 e; } if (!-e $document_root$uri) { return 200 none; } }
    location /if/7/ { if (!-f $document_root$uri) { return 200 nf; } if (-x $document_root$uri) { return 200 x; } if (!-d $document_root/if) { return 200 nd; } if (!-x $document_root$uri) { return 200 nx; } }
    location /if/8/ { set $s ""; if ($arg_a) { set $s "${s}a"; } if ($arg_b) { set $s "${s}b"; } if ($s = ab) { return 200 both; } return 200 "only $s"; }
    location /if/9/ { if ($arg_a) { add_header X-A 1; } if ($arg_b) { add_header X-B 1; } add_header X-C 1; return 200 x; }
    location /if/10/ { add_header X-C 1; if ($arg_a) { add_header X-A 1; set $q 1; } proxy_pass http://BACK; }
    location /if/11/ { if ($arg_a) { break; } return 200 after; }
    location /if/12/ { if ($arg_a) { rewrite ^/if/12/(.*) /show/$1 last; } return 200 "stay $1"; }
    location /if/13/ { if ($request_method = POST) { return 405; } if ($http_x_h ~ "^(a b)$") { return 200 "h $1"; } return 200 "$request_method"; }
    location /if/14/ { if ($arg_a ~ "(?<grp>x.)") { return 200 "g $grp $1"; } return 200 "no g $grp"; }
    location /if/15/ { if ( $arg_a = 1 ) { return 200 spaces; } return 200 "no"; }
    location /if/16/ { if ($arg_a = "b c") { return 200 quoted; } if ($arg_a = $arg_b) { return 200 same; } return 200 "no"; }
    location /if/17/ { if ($arg_a) { set $x 1; } if ($arg_b) { return 403; } if ($arg_a) { proxy_pass http://BACK; } return 200 "x"; }
    location /if/18/ { if ($arg_a) { } try_files /none =404; }
    location /if/19/ { set $arg "x"; if ($arg_a) { rewrite ^ /show break; } root DIR/www; }
    location /if/20/ { if ($uri ~ "/if/20/(.*)") { set $c $1; } rewrite ^/if/20/(.).*$ /show/$1-$c last; }
    location /if/21/ { if ($arg_a ~ (.)) { rewrite ^/if/21/(.*) /show/$1 last; } return 200 "no"; }
    location ~ ^/brk/1/(.*)$ { break; return 200 never; }
    location /brk/2/ { rewrite ^ /dir/f.txt; break; root DIR/www; }
    location /brk/3/ { rewrite ^ /dir/f.txt break; }
    location /brk/4/ { if ($arg_a) { break; } rewrite ^ /show last; }
    location /brk/5/ { alias DIR/www/dir/; rewrite ^ /brk/5/f.txt break; }
    location /brk/6/ { alias DIR/www/dir/; break; }
}
"""


def make_files(directory: Path) -> None:
    for name in ("www/dir", "www/if/6/d", "www/if/7/d"):
        (directory / name).mkdir(parents=True)
    for name in ("www/dir/f.txt", "www/if/6/f", "www/if/7/f", "www/if/7/x"):
        (directory / name).write_text(name)
        os.utime(directory / name, (1_000_000_000, 1_000_000_000))
    (directory / "www/if/7/x").chmod(0o755)


QUERIES = ["", "?a=1", "?", "?a=b%20c&x", "?a=0"]
BITS = ["", "x", "a/b", "a%20b", "a+b", "a%2Bb", "a%26b%3d", "%3Fq", "a%23b", "%e4%bd", "\xe4\xbd", "%25%41", "a%2fb", "a;b:c@d", "%7e%7d%25", 'a"<>^`{|}b', "a\\b%5c",
        "x'y", "%22%3c%3e%5e%60%7c", "%2541", "%25%25a", "%253", "%25g%25", "!$&'()*,-.:;=@_~%21%24"]  # fmt: skip


def test_rewrites(same_as_nginx: Comparison) -> None:
    cases = [ask(f"/{number}{query}") for number in range(1, 8) for query in QUERIES]
    cases += [ask(f"/{number}/{bit}{query}") for number in range(8, 42) for bit in BITS for query in ("", "?a=b%20c&x")
              if bit != "a%0ab" or number not in (11, 12, 14, 15, 16, 17, 18, 19, 20, 22, 33, 39, 41)]  # fmt: skip
    cases += ["/29/abc", "/29/a", "/29/ac", "/35/CASE", "/35/case", "/36/12", "/36/1234"]
    same_as_nginx(REWRITING, cases, prepare=make_files)


def test_variables_that_are_set(same_as_nginx: Comparison) -> None:
    cases = [
        ask(f"/set/{number}/{bit}{query}")
        for number in range(1, 13)
        for bit in BITS
        for query in ("", "?a=1", "?m=rq", "?m=x&a=%20")
    ]
    same_as_nginx(REWRITING, cases, prepare=make_files)


def test_conditions_and_breaks(same_as_nginx: Comparison) -> None:
    queries = [
        "",
        "?a=",
        "?a=0",
        "?a=00",
        "?a=1",
        "?a=b",
        "?a=c",
        "?a=x",
        "?a=xy",
        "?a=X",
        "?a=z",
        "?a=Zx",
        "?a=1&b=1",
        "?b=1",
        "?a=b%20c",
        "?A=1",
    ]
    cases = [
        ask(f"/if/{number}/{bit}{query}") for number in range(1, 22) for bit in ("", "f", "d", "x", "a%20b") for query in queries
    ]
    cases += [
        ask("/if/13/", method="POST"),
        ask("/if/13/", "X-H: a b"),
        ask("/if/13/", "X-H: a bc"),
        ask("/if/13/", method="PUT"),
    ]
    cases += [ask(f"/brk/{number}/{bit}{query}") for number in range(1, 7) for bit in ("", "f.txt") for query in ("", "?a=1")]
    same_as_nginx(REWRITING, cases, prepare=make_files)


# routing.md §3.7 return, §5.8.
RETURNS = r"""
types { text/html html; text/x-own own; image/gif gif; }
server {
    listen 127.0.0.1:PORT;
    server_name first.test second.test;
    default_type text/plain;
    location /code/ {
        CODES
        return 200 end;
    }
    location /type/ { return 200 "typed"; }
    location /nodefault/ { default_type ""; return 200 "typed"; }
    location /empty/ { return 200 ""; }
    location /empty4/ { return 404 ""; }
    location /text4/ { return 404 "mine"; error_page 404 /page; }
    location /page { return 200 "page"; }
    location /html/ { default_type text/html; return 500 "<b>mine</b>"; }
    location /url/1 { return http://other/x; }
    location /url/2 { return https://other$request_uri; }
    location /url/3 { return $scheme://other$uri; }
    location /url/4 { return 301 /rel; }
    location /url/5 { return 302 rel; }
    location /url/6 { return 303 /x?a=$arg_a; }
    location /url/7 { return 307 $arg_a; }
    location /url/8 { return 308 http://o/$uri; }
    location /url/9 { return 301 ""; }
    location /url/10 { return 301; }
    location /url/11 { return 302; }
    location /url/12 { absolute_redirect off; return 301 /rel; }
    location /url/13 { port_in_redirect off; return 301 /rel; }
    location /url/14 { server_name_in_redirect on; return 301 /rel; }
    location /url/15 { server_name_in_redirect on; port_in_redirect off; return 301 /rel; }
    location /url/16 { return 301 //other/x; }
    location /url/17 { return 300 /x; }
    location /url/18 { return 305 /x; }
    location /url/19 { return 302 "/a b"; }
    location /url/20 { return 301 "/\xe4"; }
    location /dir { root DIR/www; }
    location /proxied/ { proxy_pass http://BACK; }
    location /add/ { add_header X-A b; return 204; }
    location /add2/ { add_header X-A b always; return 404; }
    location /add3/ { add_header X-A b; return 404 "x"; }
    location /closed { return 444; }
}
"""
CODES = [0, 1, 99, 100, 101, 102, 199, 200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 400, 401, 402, 403, 404, 405,
         406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 426, 428, 429, 430, 431, 451, 494, 495, 496, 497, 498, 499,
         500, 501, 502, 503, 504, 505, 506, 507, 508, 599, 600, 700, 999]  # fmt: skip


@as_before_1_27
def test_returns(same_as_nginx: Comparison) -> None:
    steps = "".join(
        f"if ($arg_bare = {code}) {{ return {code}; }} if ($arg_text = {code}) {{ return {code} text; }}" for code in CODES
    )
    cases = [ask(f"/code/{name}?{kind}={code}", method=method) for code in CODES for kind in ("bare", "text") for method in ("GET", "HEAD", "POST")
             for name in ("x", "x.html") if (kind, name) != ("bare", "x.html") and code not in (100, 101, 102, 199, 1, 0, 99)]  # fmt: skip
    cases += [
        ask(f"/{place}/{name}")
        for place in ("type", "nodefault", "empty", "empty4", "text4", "html")
        for name in ("x", "x.html", "x.own", "x.", ".html", "x.GIF", "a.b/c")
    ]
    cases += [ask(f"/url/{number}{query}", host=host, method=method) for number in range(1, 21) for query in ("", "?a=/b%20c") for host in ("h", "first.test", "H:81", "[::1]:2")
              for method in ("GET", "HEAD", "POST")]  # fmt: skip
    cases += [
        "/dir",
        "/proxied",
        "/add/",
        "/add2/",
        "/add3/",
        "/closed",
        ask("/url/4", version="1.0"),
        b"GET /url/4 HTTP/1.0\r\n\r\n",
        b"GET /url/14 HTTP/1.0\r\n\r\n",
    ]
    cases += [
        ask(f"/code/?bare={code}", f"User-Agent: {agent}")
        for code in (301, 404, 499, 418, 494, 500)
        for agent in ("Mozilla/4.0 (MSIE 6.0)", "Chrome/90", "Gecko/1 Chrome/1", "Opera MSIE 6.0")
    ]
    same_as_nginx(RETURNS.replace("CODES", steps), cases, prepare=make_files)


# routing.md §3.6.
ERROR_PAGES = r"""
server {
    listen 127.0.0.1:PORT default_server;
    root DIR/www;
    default_type text/plain;
    error_page 410 /server410;
    error_page 404 /dir/f.txt;
    location /server410 { return 200 "410 $uri $args $request_method"; }
    location /p/ { return 200 "page $uri $args $request_method $request_uri $is_args"; }
    location /fail/ { return 503; }
    location /files { root DIR/www; }
    location /1 { error_page 404 /p/x; return 404; }
    location /2 { error_page 404 =200 /p/x; return 404; }
    location /3 { error_page 404 = /p/x; return 404; }
    location /4 { error_page 404 403 /p/x?k=$arg_a; return 403; }
    location /5 { error_page 404 @named; return 404; }
    location /6 { error_page 404 = @named; return 404; }
    location /7 { error_page 404 =418 @named; return 404; }
    location @named { return 200 "named $uri $args $request_method"; }
    location /8 { error_page 404 http://other/x; return 404; }
    location /9 { error_page 404 =301 http://other/x$uri; return 404; }
    location /10 { error_page 404 =307 rel; return 404; }
    location /11 { error_page 404 =200 http://other/x; return 404; }
    location /12 { error_page 404 /missing/; return 404; }
    location /13 { error_page 404 =200 /missing/; return 404; }
    location /14 { error_page 404 /fail/x; return 404; }
    location /15 { error_page 404 =200 /fail/x; return 404; }
    location /16 { error_page 404 = /fail/x; return 404; }
    location /17 { error_page 301 =200 /p/x; return 301 /elsewhere; }
    location /18 { error_page 301 /p/x; return 301 http://o/elsewhere; }
    location /19 { error_page 302 = /p/x; rewrite ^ /elsewhere redirect; }
    location /20 { error_page 404 @nowhere; return 404; }
    location /21 { error_page 404 /p/a; error_page 404 /p/b; return 404; }
    location /22 { error_page 405 /p/x; limit_except GET { proxy_pass http://BACK; } return 405; }
    location /23 { error_page 404 /$arg_a; return 404; }
    location /24 { error_page 404 $arg_a; return 404; }
    location /25/ { error_page 502 /p/x; proxy_pass http://DEAD; }
    location /26/ { error_page 502 @back; proxy_pass http://DEAD; }
    location @back { proxy_pass http://BACK; }
    location /27/ { error_page 502 = @back; proxy_pass http://DEAD; }
    location /28/ { error_page 502 =200 /api/fallback; proxy_pass http://DEAD; }
    location /api/ { proxy_pass http://BACK; }
    location /29/ { error_page 401 403 404 500 503 /p/x; proxy_pass http://BACK; }
    location /30/ { proxy_intercept_errors on; error_page 401 403 404 500 503 /p/x; proxy_pass http://BACK; }
    location /31/ { proxy_intercept_errors on; error_page 401 403 404 =200 @named; proxy_pass http://BACK; }
    location /32/ { proxy_intercept_errors on; error_page 301 302 /p/x; error_page 401 = /api/y; proxy_pass http://BACK; }
    location /33/ { proxy_intercept_errors on; proxy_pass http://BACK; }
    location /34/ { proxy_intercept_errors on; error_page 404 502 @deadnamed; proxy_pass http://BACK; }
    location @deadnamed { proxy_pass http://DEAD; }
    location /35/ { recursive_error_pages on; error_page 404 /36/x; return 404; }
    location /36/ { recursive_error_pages on; error_page 403 /p/y; return 403; }
    location /37/ { error_page 404 /36/x; return 404; }
    location /38/ { recursive_error_pages on; error_page 404 /38/again; return 404; }
    location /39/ { recursive_error_pages on; error_page 404 = /36/x; return 404; }
    location /40/ { recursive_error_pages on; error_page 404 =200 /36/x; return 404; }
    location /41/ { error_page 413 /p/large; client_max_body_size 3; proxy_pass http://BACK; }
    location /42/ { error_page 413 =200 /api/large; client_max_body_size 3; proxy_pass http://BACK; }
    location /43/ { error_page 404 /p/x; return 404 "text"; }
    location /44/ { error_page 500 /p/x; rewrite ^ /44/ last; }
    location /45/ { error_page 403 404 /p/x; index none; }
    location /46/ { error_page 405 =200 $uri; root DIR/www; }
    location /47/ { error_page 404 /f; if ($arg_a) { error_page 404 /p/if; return 404; } return 404; }
    location /48/ { error_page 404 =404 /p/x; return 404; }
    location /49/ { error_page 404 =204 /p/x; return 404; }
    location /50/ { error_page 404 =500 /p/x; return 404; }
    location /51/ { error_page 404 =777 /p/x; return 404; }
    location /52/ { error_page 404 /p/a%20b; return 404; }
    location /53/ { error_page 404 /rw/x; return 404; }
    location /rw/ { rewrite ^/rw/(.*) /p/$1 last; }
    location /54/ { error_page 404 /to301; return 404; }
    location /to301 { return 301 /moved; }
    location /55/ { error_page 404 =200 /to301; return 404; }
    location /56/ { error_page 404 = /to301; return 404; }
    location /57/ { error_page 404 /text4; return 404; }
    location /text4 { return 418 "teapot"; }
    location /58/ { error_page 404 =200 /text4; return 404; }
    location /59/ { error_page 404 = /text4; return 404; }
    location /60/ { error_page 503 @named; error_page 404 @named2; return 404; }
    location @named2 { return 503; }
    location /61/ { recursive_error_pages on; error_page 503 @named; error_page 404 @named2; return 404; }
    location /62/ { error_page 404 /p/x; try_files /none =404; }
    location /63/ { try_files /none @back; }
    location /64/ { error_page 404 =200 /intern/x; return 404; }
    location /intern/ { internal; return 200 "internal $uri"; }
    location /65/ { error_page 404 /dir/f.txt; return 404; }
    location /66/ { error_page 304 /p/x; root DIR/www; }
    location /67/ { error_page 416 /p/x; alias DIR/www/dir/; }
    location /68/ { error_page 412 /p/x; alias DIR/www/dir/; }
    location /69/ { error_page 494 /p/x; return 494; }
    location /70/ { error_page 400 /p/x; return 400; }
    location /71/ { error_page 400 /p/x; return 494; }
    location /72/ { error_page 500 /p/x; proxy_pass http://$arg_b; }
    location /74/ { error_page 404 /api/x; return 404; }
    location /75/ { error_page 404 @back; return 404; }
    location /76/ { error_page 404 /api/x; client_body_buffer_size 1; proxy_intercept_errors on; proxy_pass http://BACK; }
    location /77/ { error_page 404 @back; proxy_intercept_errors on; proxy_pass http://BACK; }
    location /78/ { error_page 405 /api/x; root DIR/www; }
    location /79/ { error_page 502 /try/x; proxy_pass http://DEAD; }
    location /try/ { try_files /none @back; }
    location /80/ { error_page 301 http://other/y; return 301 /x; }
    location /81/ { error_page 404 =301 /p/x; return 404; }
    location /82/ { error_page 404 =304 /p/x; return 404; }
    location /83/ { error_page 404 =204 /dir/f.txt; return 404; }
    location /84/ { error_page 502 /85/y; proxy_pass http://DEAD; }
    location /85/ { client_max_body_size 1; proxy_pass http://BACK; }
    location /86/ { error_page 404 /87/y; return 404; }
    location /87/ { client_max_body_size 1; proxy_pass http://BACK; }
    location /88/ { rewrite ^ /87/y last; }
    location /89/ { client_max_body_size 1; rewrite ^ /api/y last; }
    location /90/ { return 499 "text"; }
    location /91/ { return 408 "text"; }
    location /92/ { error_page 408 /p/x; return 408; }
    location /93/ { error_page 498 495 496 497 /p/x; return 497; }
    location /73/ { error_page 404 "/p/sp ace"; return 404; }
}
server {
    listen 127.0.0.1:PORT;
    server_name bad.test;
    error_page 400 404 405 413 414 494 500 501 505 /bad;
    location /bad { return 200 "bad $uri $args $request_method $status"; }
}
"""


def test_error_pages(same_as_nginx: Comparison) -> None:
    cases = [
        ask(f"/{number}/x{query}", method=method)
        for number in range(1, 94)
        for query in ("", "?a=b")
        for method in ("GET", "HEAD", "POST", "DELETE")
    ]
    cases += [ask(f"/{number}/x?a=/p/q", method="POST", body="hello") for number in range(1, 94)]
    cases += [ask(f"/{number}/x", f"X-Status: {status}", 'X-Add: WWW-Authenticate: Basic realm="x"', "X-Add: Location: http://o/", "X-Add: X-Own: 1", method=method)
              for number in (*range(29, 35), 76, 77) for status in ("401 No", "403 No", "404 No", "500 Bad", "503 Busy", "301 Moved", "302 Found", "200 OK", "418 Tea", "502 Gate")
              for method in ("GET", "HEAD", "POST")]  # fmt: skip
    cases += [
        "/files",
        "/files/",
        "/none",
        "/server410",
        "/67/f.txt",
        ask("/68/f.txt", 'If-Match: "x"'),
        ask("/66/dir/f.txt", "If-None-Match: *"),
    ]
    same_as_nginx(ERROR_PAGES, cases, level="crit", prepare=make_files)


def chunked(target: str, *pieces: str, host: str = "h") -> bytes:
    body = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces) + "0\r\n\r\n"
    return ask(target, "Transfer-Encoding: chunked", method="POST", host=host) + body.encode()


def test_bodies_and_error_pages(same_as_nginx: Comparison) -> None:
    numbers = [*range(22, 35), 41, 42, 46, *range(74, 80), *range(84, 90)]
    cases = [
        chunked(f"/{number}/x", *pieces)
        for number in numbers
        if number not in (42, 76)
        for pieces in ((), ("he",), ("he", "llo"), ("hello", "world"))
    ]
    cases += [
        ask(f"/{number}/x", "X-Status: 404 No", method=method, body="hello")
        for number in numbers
        for method in ("GET", "POST", "PUT", "DELETE")
    ]
    cases += [ask(f"/{number}/x", "Content-Length: 0", method=method) for number in numbers for method in ("GET", "POST")]
    same_as_nginx(ERROR_PAGES, cases, level="crit", prepare=make_files)


UNREADABLE = r"""
server {
    listen 127.0.0.1:PORT default_server;
    server_name bad.test;
    default_type text/plain;
    client_max_body_size 3;
    error_page 400 404 405 413 414 494 500 501 505 /bad;
    location / { return 200 "ok"; }
    location /bad { return 200 "bad $uri $args <$request_method> $status <$request> <$host>"; }
    location /p/ { proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name named.test;
    default_type text/plain;
    client_max_body_size 3;
    error_page 400 413 494 = @n;
    location / { return 200 "ok"; }
    location @n { return 418 "n $uri <$request_method> $host"; }
    location /p/ { proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name proxied.test;
    client_max_body_size 3;
    error_page 400 413 494 = @n;
    location / { proxy_pass http://BACK; }
    location @n { proxy_pass http://BACK; }
}
"""


def test_error_pages_for_what_is_refused_before_routing(same_as_nginx: Comparison) -> None:
    long = "x" * 9000
    cases = [
        b"G!T / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", b"GET / HTTP/3.0\r\nHost: h\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: bad.test\r\n\r\n", f"GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n".encode(), b"GET / HTTP/1.1\r\n\r\n",
        *(ask("/x?y", field, host=host, method=method) for host in ("bad.test",) for method in ("GET", "HEAD") for field in
          (f"X-Long: {long}", "Host: two", "Content-Length: x", "Transfer-Encoding: x", "bad name: x", ": x")),
        *(ask(f"/{place}x?y", host=host, method=method, body="too large") for host in ("bad.test", "named.test", "proxied.test") for method in ("POST", "PUT", "GET") for place in ("", "p/")),
        ask("/x", host="a/b"),
    ]  # fmt: skip
    same_as_nginx(UNREADABLE, cases, level="crit")


SERVER_STEPS = r"""
server {
    listen 127.0.0.1:PORT;
    server_name one.test;
    default_type text/plain;
    root DIR/www;
    set $who server;
    rewrite ^/moved/(.*)$ /new/$1;
    rewrite ^/gone/(.*)$ http://elsewhere/$1 permanent;
    rewrite ^/last/(.*)$ /new/last/$1 last;
    rewrite ^/brk/(.*)$ /pass/$1 break;
    rewrite ^/both/(.*)$ /new/$1 break;
    if ($arg_block) { return 403; }
    if ($arg_in) { rewrite ^(.*)$ /new/in; set $who if; }
    if ($arg_brk) { set $who brk; break; }
    if ($arg_last) { rewrite ^(.*)$ /new/l$1 last; }
    set $who "$who+";
    rewrite ^/new/again/(.*)$ /new/changed/$1;
    error_page 404 /nowhere;
    location /new/ { return 200 "$who $uri $args"; }
    location /pass/ { proxy_pass http://BACK/u/; }
    location /plain/ { proxy_pass http://BACK; }
    location /named/ { try_files /none @n; }
    location @n { return 200 "named $who $uri"; }
    location /redirect/ { try_files /none /new/again/x?y; }
    location /files/ { alias DIR/www/dir/; }
    location /post/ { rewrite ^/post/(.*)$ /new/again/$1 last; }
    location /al/ { alias DIR/www/dir/; }
    rewrite ^/alb/(.*)$ /al/$1 break;
    rewrite ^/all/(.*)$ /al/$1 last;
    location /nowhere { return 200 "nowhere $who"; }
    location /small/ { client_max_body_size 3; error_page 413 /new/large; proxy_pass http://BACK; }
    location /small2/ { client_max_body_size 3; proxy_pass http://BACK; limit_except GET { proxy_pass http://BACK; } }
}
server {
    listen 127.0.0.1:PORT;
    server_name two.test;
    return 301 https://$host$request_uri;
    location / { return 200 never; }
}
server {
    listen 127.0.0.1:PORT;
    server_name three.test;
    if ($host ~ ^(\w+)\.test$) { set $label $1; }
    if ($request_method !~ ^(GET|HEAD|POST)$) { return 405; }
    if ($http_x_old) { return 444; }
    default_type text/plain;
    error_page 405 /page;
    location / { return 200 "$label <$1> $uri"; }
    location ~ ^/(re)/ { return 200 "$label <$1>"; }
}
server {
    listen 127.0.0.1:PORT;
    server_name four.test;
    rewrite ^ /x$uri;
    location / { rewrite ^ /y$uri; }
}
server {
    listen 127.0.0.1:PORT;
    server_name five.test;
    root DIR/www;
    try_files $uri /dir/f.txt;
    location /known { return 200 known; }
}
server {
    listen 127.0.0.1:PORT;
    server_name ~^(?<sub>.+)\.re\.(?<top>test)$;
    default_type text/plain;
    rewrite ^/cap$ /shown/$sub/$1;
    location / { return 200 "$sub $top $1 $2 $uri"; }
    location /pass/ { proxy_set_header X-Sub $sub; proxy_pass http://BACK; }
    location ~ ^/loc/(.)$ { return 200 "$sub $1"; }
}
"""


def test_steps_of_servers(same_as_nginx: Comparison) -> None:
    paths = ["/new/x", "/moved/x", "/moved/%20x?a=b", "/gone/x?y", "/last/x", "/brk/x", "/brk/%20x?q", "/both/x", "/both/again/x", "/new/again/x", "/pass/x?q", "/plain/x%20?q", "/plain//x", "/named/x",
             "/redirect/x", "/files/f.txt", "/post/x", "/none", "/alb/f.txt", "/all/f.txt", "/al/f.txt", "/moved/again/x"]  # fmt: skip
    cases = [
        ask(path + ("&" if "?" in path else "?") + query, host="one.test")
        for path in paths
        for query in ("", "block=1", "in=1", "brk=1", "last=1")
    ]
    cases += [
        ask(path, host="two.test", method=method)
        for path in ("/", "/x%20y?z=%20", "/never")
        for method in ("GET", "HEAD", "POST")
    ]
    cases += [
        ask(path, host="three.test", method=method) for path in ("/", "/re/x") for method in ("GET", "PUT", "POST", "OPTIONS")
    ]
    cases += [
        ask("/", "X-Old: 1", host="three.test"),
        ask("/a", host="four.test"),
        ask("/a/b", host="four.test"),
        ask("/page", method="PUT", host="three.test"),
    ]
    cases += [ask(path, host="five.test") for path in ("/", "/dir/f.txt", "/none", "/known", "/dir", "/dir/")]
    cases += [ask(path, host=host) for path in ("/", "/cap", "/pass/x", "/loc/y") for host in ("a.re.test", "a.b.re.test")]
    cases += [
        ask("/x", host="one.test", method="POST", body="hi"),
        ask("/pass/x", host="one.test", method="POST", body="hi"),
        ask("/brk/x", host="one.test", method="POST", body="hi"),
    ]
    cases += [
        ask(f"/{place}/x", host="one.test", method=method, body=body)
        for place in ("small", "small2", "plain")
        for method in ("POST", "GET")
        for body in ("hi!", "hello")
    ]
    same_as_nginx(SERVER_STEPS, cases, prepare=make_files)


NESTED_IFS = r"""
server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    root DIR/www;
    location /a/ { if ($arg_a) { set $x 1; } proxy_pass http://BACK/x/; proxy_set_header X-X $arg_a; }
    location /b/ { if ($arg_a) { proxy_pass http://BACK; } if ($arg_b) { set $y 1; } proxy_pass http://BACK/x/; }
    location /c/ { proxy_pass http://BACK/x/; location /c/d/ { if ($arg_a) { set $x 1; } } location /c/e/ { proxy_pass http://BACK; } }
    location /f/ { proxy_pass http://BACK/x/; limit_except GET { proxy_pass http://BACK; } if ($arg_a) { set $x 1; } }
    location /g/ { limit_except GET { proxy_pass http://BACK; } if ($arg_a) { return 200 "if"; } return 200 "g"; }
    location /h/ { set $s ""; if ($arg_a) { set $s a; root DIR/other; } if ($arg_b) { set $s "${s}b"; } return 200 "$s $document_root"; }
    location /i/ { error_page 404 /j; if ($arg_a) { error_page 404 /k; } if ($arg_b) { return 404; } return 404; }
    location = /j { return 200 j; }
    location = /k { return 200 k; }
    location ~ ^/l/(?<r>.*)$ { if ($arg_a) { set $x 1; } proxy_pass http://BACK; }
    location /m/ { if ($arg_a) { set $args "x=y"; } proxy_pass http://BACK/x/; }
    location /n/ { if ($arg_a) { set $args "x=y"; } proxy_pass http://BACK; }
    location /o/ { if ($arg_a) { rewrite ^ /o/new break; } proxy_pass http://BACK; }
    location /q/ { rewrite ^ /o/$arg_a last; }
    location /r/ { if ($uri ~ ^/r/(.*)$) { proxy_pass http://BACK; } }
    location /s/ { if ($arg_a) { proxy_pass http://BACK; } try_files /none =410; }
    location /t/ { if ($arg_a) { set $x 1; } try_files /none =410; }
    location /u/ { if ($arg_a) { return 301 /x; } if ($arg_b) { rewrite ^ /y permanent; } proxy_pass http://BACK; }
    location /v/ { if (!-e $request_filename) { rewrite ^/v/(.*)$ /index.php?q=$1 last; } }
    location /index.php { return 200 "$args"; }
    location /w/ { if ($arg_a) { add_header X-If 1; } add_header X-Out 1; proxy_pass http://BACK; }
}
"""


def test_conditions_around_proxies(same_as_nginx: Comparison) -> None:
    cases = [ask(f"/{letter}/{rest}{query}", method=method) for letter in "abcfghilmnoqrstuvw" for rest in ("", "d/x", "e/x", "%20z") for query in ("", "?a=1", "?b=1", "?a=1&b=1")
             for method in ("GET", "POST")]  # fmt: skip
    cases += [ask(f"/{letter}/d/x?a=1", method="POST", body="hello") for letter in "abcfghilmnoqrstuvw"]
    same_as_nginx(NESTED_IFS, cases, prepare=make_files)


REWRITE_LOG = r"""
rewrite_log on;
server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    location /a/ { rewrite ^/a/(.*)$ /b/$1?x=1; rewrite nothing /c; }
    location /b/ { rewrite ^/b/(.*)$ http://other/$1; }
    location /d/ { rewrite ^/d/(.*)$ /e/$1 break; return 200 no; }
    location /f/ { rewrite_log off; rewrite ^ /e; }
    location /g/ { if ($arg_a ~ "^(.)$") { return 200 $1; } if ($arg_a !~ x) { return 200 "no x"; }}
    root DIR/www;
    location /h/ { if ($arg_a !~* "Q") { rewrite ^/h(.*)$ /h$1 break; } return 200 h; }
    location /e { return 200 e; }
}
"""


def test_the_rewrite_log(same_as_nginx: Comparison) -> None:
    same_as_nginx(
        REWRITE_LOG, ["/a/%20x?q", "/b/y", "/d/x", "/f/x", "/g/?a=1", "/g/?a=12", "/g/?a=xx", "/h/?a=q"], level="notice"
    )


ESCAPES = r"""
server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    absolute_redirect off;
    location = /show { return 200 "$args"; }
    location ~ ^/args/([^|]*)\|?$ { rewrite (?s)^/args/(.*)$ /show?$1? last; }
    location ~ ^/set/([^|]*)$ { set $a $1; return 200 "$a"; }
    location ~ ^/redirect/ { rewrite (?s)^/redirect/(.*)$ /to/$1 redirect; }
    location ~ ^/name/ { rewrite (?s)^/name/(?<all>.*)$ /show?$all? last; }
    location /path/ { rewrite (?s)^/path/(.*)$ /to/$1 break; proxy_pass http://BACK; }
    location /uri/ { proxy_pass http://BACK/u/; }
    location /sl/ { location ~ "^/sl/.$" { return 200 one; } }
    location /add/ { add_header X-U $uri; return 204; }
    location "/q \"'+%\\#x/" { proxy_pass http://BACK; }
    location /\xff\xfe/ { proxy_pass http://BACK; }
}
"""


def test_every_byte_in_every_place(same_as_nginx: Comparison) -> None:
    bytes_ = [f"%{code:02X}" for code in range(1, 256)] + ["a+b", "a+%20", "%2B"]
    places = ("args", "set", "name", "path", "uri", "redirect", "sl")
    unsafe = {("redirect", "%0A"), ("redirect", "%0D")}  # those are escaped and safe, but nginx logs nothing to compare
    cases = [ask(f"/{place}/{byte}") for place in places for byte in bytes_ if (place, byte) not in unsafe]
    raw = [chr(code) for code in range(0x21, 256) if chr(code) not in "#%?\x7f"]
    cases += [ask(f"/{place}/{byte}") for place in places for byte in raw]
    cases += ["/q%20\"'+%25%5C%23x", '/q "', "/q%20\"'+%25%5C%23x?a=b", ask("/\xff\xfe"), ask("/%ff%fe"), ask("/\xff\xfe/x")]
    same_as_nginx(ESCAPES, cases, level="emerg")


NAMED = r"""
server {
    listen 127.0.0.1:PORT;
    default_type text/plain;
    root DIR/www;
    recursive_error_pages on;
    location /a/ { try_files /none @a; }
    location @a { rewrite ^/a/again/(.*)$ /a/$1 last; rewrite ^/a/(.*)$ /b/$1 last; }
    location /b/ { return 200 "b $uri $args"; }
    location /c/ { error_page 404 = @c; return 404; }
    location @c { error_page 404 = @d; return 404; }
    location @d { rewrite ^/c/(.*)$ /c/d/$1 break; proxy_pass http://BACK; }
    location /e/ { try_files /none/ /dir/ @e; }
    location @e { return 200 "e $request_method $uri $args"; }
    location /f/ { try_files /none @missing; }
    location /g/ { try_files /none =444; }
    location /h/ { try_files $uri @h; }
    location @h { proxy_set_header X-Original $request_uri; proxy_pass http://BACK; }
    location /i/ { try_files /none @i; limit_except GET { proxy_pass http://BACK; } }
    location @i { return 200 "i $request_method"; }
    location /j/ { error_page 405 = @j; limit_except POST { proxy_pass http://BACK; } return 405; }
    location @j { return 200 "j $request_method $uri"; }
    location /k/ { set $k 1; try_files /none @k; }
    location @k { set $k "${k}2"; if ($arg_a) { return 200 "if $k"; } return 200 "k $k"; }
    location ~ ^/l/(?<rest>.*)$ { try_files /none @l; }
    location @l { return 200 "l $rest $1"; }
    location /m/ { try_files /none /m2/$arg_a?$args; }
    location /m2/ { internal; return 200 "m2 $uri $args"; }
    location /n/ { index none.html /n2/x; }
    location /n2/ { internal; return 200 "n2 $uri $args $request_method"; }
    location /o/ { error_page 403 = @o; index none; }
    location @o { return 200 "o $uri"; }
    location /p/ { try_files /none @p; }
    location @p { try_files /none /dir/f.txt =404; }
    location /q/ { try_files /none @q; }
    location @q { error_page 502 = @d2; proxy_pass http://DEAD; }
    location @d2 { proxy_pass http://BACK; }
    location /r/ { try_files /none @loop; }
    location @loop { try_files /none @loop; }
    location /s/ { try_files /none /s/x$uri?y; }
}
"""


def test_named_locations(same_as_nginx: Comparison) -> None:
    cases = [
        ask(f"/{letter}/{rest}{query}", method=method)
        for letter in "abcefghijklmnopqrs"
        for rest in ("", "x", "again/y", "%20z")
        for query in ("", "?a=1")
        for method in ("GET", "POST", "HEAD")
    ]
    cases += [ask(f"/{letter}/x", method="POST", body="hello") for letter in "abcefghijklmnopqrs"]
    same_as_nginx(NAMED, cases, prepare=make_files)


@pytest.mark.parametrize("http", [PROXY_PASS, SELECTION, REWRITING, ERROR_PAGES, SERVER_STEPS, NESTED_IFS, NAMED])
def test_an_answer_does_not_depend_on_what_the_connection_asked_before(same_as_nginx: Comparison, http: str) -> None:
    """Connections remember heads and what became of them; the second of two equal requests is answered from that."""
    names = sorted(set(re.findall(r"location (?:= |\^~ |~ \^)?(/[\w/]+)", http)))
    hosts = re.findall(r"server_name (\w+\.test)", http) or ["h"]
    targets = [f"{name}{tail}" for name in names for tail in ("", "x%20y?a=1", "/x?q")]
    same_as_nginx.ourselves(http, [ask(target, host=host) for host in hosts[:3] for target in targets], prepare=make_files)


ON_THE_WAY = r"""
server {
    listen 127.0.0.1:PORT;
    server_name a.test;
    default_type text/plain;
    location / { return 200 "[$request_uri] $uri $args $host $server_name $request"; }
    location /hx/ { proxy_set_header Connection keep-alive; proxy_set_header Upgrade $http_upgrade; proxy_pass http://BACK; }
    location /in { proxy_set_header X-U "$uri|$request_uri|$args|$request_method"; rewrite ^/in(.*)$ /to$1 last; }
    location /to { proxy_set_header X-U "$uri|$request_uri|$args|$request_method"; proxy_pass http://BACK; }
    location /ep { error_page 404 = /to/ep?x=$uri; return 404; }
}
"""


def test_the_request_as_variables_tell_it_on_its_way(same_as_nginx: Comparison) -> None:
    cases = [ask("http://unknown?q=1"), ask("http://a.test"), ask("http://a.test/%20?x"), ask("http://a.test?y"), ask("http://a.test/in?z"),
             ask("/hx/", "Upgrade: w"), ask("/hx/"), ask("/in/%20?q"), ask("/in"), ask("/ep", method="POST", body="x"), ask("/ep/%41?y"),
             ask("/to", body="b"), ask("/to/", version="1.0"), b"GET /to HTTP/1.0\r\n\r\n", b"POST /to HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
             b"GET http://x:99/to HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\n"]  # fmt: skip
    same_as_nginx(ON_THE_WAY, cases)
