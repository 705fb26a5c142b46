"""Routing, asked of this worker and of the real nginx: locations, rewriting, error pages and what goes upstream.

Where nginx 1.22 differs from the pages (which describe 1.31) or where we are stricter on purpose, the test is in
test_routing.py, without an oracle.
"""

from __future__ import annotations

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

# proxy.md §1.1.
PROXY_PASS = """
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
    location ~ ^/re/(.*)\\.php$ { proxy_pass http://BACK; }
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
SELECTION = """
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
    server_name "" ~^re(?<n>\\d+)\\.test$ ~^Upper$;
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
    location ^~ /n/ { return 200 "^~ /n/"; location ~ inner { return 200 "^~ /n/ ~inner"; } location /n/deep/ { return 200 "/n/deep/"; location ~ \\.g$ { return 200 "deep ~g"; } } }
    location /m/ { return 200 "/m/"; location ^~ /m/no/ { return 200 "^~ /m/no/"; } location ~ mm { return 200 "/m/ ~mm"; } location = /m/eq.g { return 200 "= /m/eq.g"; } }
    location ~ \\.g$ { return 200 "~ .g"; }
    location ~* \\.CASE$ { return 200 "~* .CASE"; }
    location ~ \\.Case$ { return 200 "~ .Case"; }
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
             "unknown", "127.0.0.1", "[::1]", "[::1]:80", "h:99999", "h:x", "a..b", ".", "..", "a_b", "a b", "a/b", "a\\b", "h:80:80",
             "-", "~", "xn--e1afmkfd.test", "h:", ".dot.test"]  # fmt: skip
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


def test_normalised_uris(same_as_nginx: Comparison) -> None:
    targets = ["/", "//", "///a", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/..", "/../x", "/a/../../x", "/.", "/./", "/.a", "/..a", "/...",
               "/a/.../b", "/a/..b/c", "/%41%62", "/%2e", "/%2E%2e/x", "/a/%2e%2e/b", "/a%2fb", "/a%2f..%2fb", "/a%2F%2e%2E%2fb", "/%2f%2f", "/a%252e",
               "/%00", "/a%0", "/a%", "/a%g1", "/a%1g", "/a%0ab", "/a%20b", "/a%7fb", "/a+b", "/a%3fb?c", "/a?b/../c", "/a?%zz", "/a?%00", "/a??", "/a?b?c",
               "/a?", "/a%23b", "/\xff\xfe", "/%ff", "/a\"b", "/a<b>", "/a\\b", "/a^b`{|}", "/a;b/../c", "/a/b/c/../../..", "/a/b/../../../x", "/a//../b",
               "/a/%2e/b", "/a/.%2e/b", "/a/%2e.", "/x%2f%2e", "/%2e%2e%2f", "/a:b@c", "/~a", "/%7Ea", "/a%5cb", "/a/..?x", "/a/.?x", "/./a", "/a%", "/a%2"]  # fmt: skip
    cases = [ask(target) for target in targets]
    cases += [ask(target, host="m.test") for target in ["//", "/a//b", "/a//../b", "/a/..//b", "/x//y", "/x/%2fy", "/a/./b", "/p//x", "/p/a//../b%20", "/..//"]]
    same_as_nginx(SELECTION, cases)


def test_request_lines(same_as_nginx: Comparison) -> None:
    end = b"\r\nHost: h\r\nConnection: close\r\n\r\n"
    lines = [b"GET / HTTP/1.1", b"\r\n\r\nGET / HTTP/1.1", b"\n\nGET / HTTP/1.1", b"M_X-Y / HTTP/1.1", b"get / HTTP/1.1", b"G1T / HTTP/1.1",
             b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET x HTTP/1.1", b"GET  HTTP/1.1", b"GET / HTTP/2.0", b"GET / HTTP/3.1", b"GET / HTTP/0.9",
             b"GET / http/1.1", b"GET / HTTX/1.1", b"GET / HTTP/1.", b"GET / HTTP/1", b"GET / HTTP/.1", b"GET / HTTP/1.1x",
             b"GET /\x01 HTTP/1.1", b"GET /a\tb HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /\x7f HTTP/1.1",
             b"TRACE / HTTP/1.1", b"CONNECT h:80 HTTP/1.1", b"CONNECT / HTTP/1.1", b"TRACE http://h/ HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1.2",
             b"GET / HTTP/1.9", b"GET ftp://h/ HTTP/1.1", b"GET http:/h HTTP/1.1", b"GET http:// HTTP/1.1", b"GET 1ttp://h/ HTTP/1.1",
             b"HEAD / HTTP/1.1", b"HEAD /\x01 HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"GET /%zz HTTP/1.1", b"HEAD /%zz HTTP/1.1", b"POST / HTTP/1.1",
             b"GET /" + b"x" * 9000 + b" HTTP/1.1", b"HEAD /" + b"x" * 9000 + b" HTTP/1.1", b"GET / HTTP/11.1", b"GET / HTTP/1.1\r\nX: " + b"x" * 9000,
             b"GET / HTTP/1.0", b"HEAD / HTTP/1.0", b"GET /"]  # fmt: skip
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
