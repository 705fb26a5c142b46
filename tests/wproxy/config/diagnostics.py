"""What nginx says of configurations that it refuses or doubts (routing.md §1.2 to §1.5 and §2.1 to §2.2): a row each.

A row is the block that its text stands in, the text, and what is said: the place is a line of the text, 1 the first; 0 is none.
"""

from __future__ import annotations

from typing import NamedTuple

SERVER_A = "server { listen 28081; server_name a; }\n"
UPSTREAM = "upstream u { server 127.0.0.1; }\n"


class Row(NamedTuple):
    """One configuration and the first problem of it."""

    block: str
    text: str
    said: str
    line: int = 1


AROUND = {
    "file": ("", ""),
    "main": ("error_log stderr; pid x.pid; events {}\n", "\nhttp {}\n"),
    "http": ("error_log stderr; pid x.pid; events {} http {\n", "\n}\n"),
    "server": ("error_log stderr; pid x.pid; events {} http { server { listen 28080;\n", "\n}}\n"),
    "location": ("error_log stderr; pid x.pid; events {} http { server { listen 28080; location / {\n", "\n}}}\n"),
}


def written(row: Row) -> str:
    """The whole file."""
    before, after = AROUND[row.block]
    return before + row.text + after


def place(row: Row, file: str) -> str:
    """What follows the words: ` in FILE:LINE`."""
    return f" in {file}:{row.line + AROUND[row.block][0].count(chr(10))}" if row.line else ""


def _not_here(name: str) -> str:
    return f'"{name}" directive is not allowed here'


def _duplicate(name: str) -> str:
    return f'"{name}" directive is duplicate'


WITH_URI = (
    '"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, '
    'or inside "if" statement, or inside "limit_except" block'
)

# Words, arguments, braces.
SHAPES = [
    Row("http", "nope on;", 'unknown directive "nope"'),
    Row("server", "listen;", 'invalid number of arguments in "listen" directive'),
    Row("http", "default_type a b;", 'invalid number of arguments in "default_type" directive'),
    Row("location", "rewrite a;", 'invalid number of arguments in "rewrite" directive'),
    Row("location", "try_files a;", 'invalid number of arguments in "try_files" directive'),
    Row("location", "error_page 404;", 'invalid number of arguments in "error_page" directive'),
    Row("server", "location { }", 'invalid number of arguments in "location" directive'),
    Row("server", "location /a b c { }", 'invalid number of arguments in "location" directive'),
    Row("http", "types a { }", 'invalid number of arguments in "types" directive'),
    Row("main", "daemon on { }", 'directive "daemon" is not terminated by ";"'),
    Row("http", "sendfile on { }", 'directive "sendfile" is not terminated by ";"'),
    Row("http", "server;", 'directive "server" has no opening "{"'),
    Row("http", "\n upstream u;", 'directive "upstream" has no opening "{"', 2),
    Row("server", "location /;", 'directive "location" has no opening "{"'),
    Row("server", "root", 'unexpected "}"', 2),
    Row("file", "events {}\n}\nhttp {}", 'unexpected "}"', 2),
    Row("file", "events {}\nhttp {}\ndaemon", 'unexpected end of file, expecting ";" or "}"', 3),
    Row("file", "http { }", 'no "events" section in configuration', 0),
    Row("file", "events {}\nevents {}\nhttp {}", _duplicate("events"), 2),
    Row("file", "events {}\nhttp {}\nhttp {}", _duplicate("http"), 3),
]

# The contexts.
PLACES = [
    *(Row("main", f"{text}", _not_here(text.split()[0])) for text in ("server { }", "location / { }", "keepalive_timeout 5;")),
    *(
        Row("http", text, _not_here(text.split()[0].rstrip(";")))
        for text in (
            *("listen 80;", "location / { }", "try_files a b;", "rewrite a b;", "set $a b;", "return 404;", "break;"),
            *("if ($host) { }", "http { }", "events { }", "proxy_pass http://127.0.0.1;", "alias a;", "internal;", "daemon on;"),
        )
    ),
    *(
        Row("server", text, _not_here(text.split()[0].rstrip(";")))
        for text in (
            *("internal;", "alias a;", "proxy_pass http://127.0.0.1;", "limit_except GET { }", "server { }", "upstream u { }"),
            *("map $host $a { }", "log_format a b;"),
        )
    ),
    *(
        Row("location", text, _not_here(text.split()[0]))
        for text in (
            *("server_name a;", "listen 80;", "client_header_timeout 5;", "client_header_buffer_size 1k;", "merge_slashes on;"),
            *("large_client_header_buffers 4 8k;", "underscores_in_headers on;", "ignore_invalid_headers on;", "server { }"),
        )
    ),
    *(
        Row("server", f"if ($host) {{ {text} }}", _not_here(text.split()[0]))
        for text in (
            *("if ($uri) { }", "root a;", "proxy_pass http://127.0.0.1;", "error_page 404 /;", "access_log off;", "add_header a b;"),
            *("location / { }", "expires 1;", "try_files a b;", "sendfile on;"),
        )
    ),
    *(
        Row("location", f"if ($host) {{ {text} }}", _not_here(text.split()[0].rstrip(";")))
        for text in (
            *("if ($uri) { }", "location /a { }", "try_files a b;", "alias a;", "proxy_set_header a b;", "proxy_read_timeout 5;"),
            *("index a;", "internal;", "limit_except GET { }", "types { }", "keepalive_timeout 5;"),
        )
    ),
    *(
        Row("location", f"limit_except GET {{ {text} }}", _not_here(text.split()[0]))
        for text in ("return 405;", "proxy_set_header A b;", "if ($host) { }", "location / { }", "root a;", "add_header a b;")
    ),
    Row("http", "upstream u { server 127.0.0.1; listen 80; }", _not_here("listen")),
]  # fmt: skip

# Twice in one block.
DUPLICATES = [
    *(
        Row("http", f"{text};\n{text};", _duplicate(text.split()[0]), 2)
        for text in ("sendfile on", "keepalive_timeout 5", "root a", "client_max_body_size 1", "etag on")
    ),
    *(
        Row("location", f"{text}\n{text}", _duplicate(text.split()[0].rstrip(";")), 2)
        for text in ("try_files a b;", "proxy_pass http://127.0.0.1;", "internal;", "limit_except GET { }", "send_timeout 5;")
    ),
    Row("location", "root a;\nalias b;", '"alias" directive is duplicate, "root" directive was specified earlier', 2),
    Row("location", "alias b/;\nroot a;", '"root" directive is duplicate, "alias" directive was specified earlier', 2),
    Row("http", "log_format a b;\nlog_format a c;", 'duplicate "log_format" name "a"', 2),
    Row("http", "log_format combined c;", 'duplicate "log_format" name "combined"'),
]

VALUES = [
    Row("http", "sendfile yes;", 'invalid value "yes" in "sendfile" directive, it must be "on" or "off"'),
    Row("http", "client_max_body_size 1x;", '"client_max_body_size" directive invalid value'),
    Row("http", "client_header_buffer_size 1g;", '"client_header_buffer_size" directive invalid value'),
    Row("http", "large_client_header_buffers 0 8k;", '"large_client_header_buffers" directive invalid value'),
    Row("http", "keepalive_requests x;", '"keepalive_requests" directive invalid number'),
    Row("http", "keepalive_requests -1;", '"keepalive_requests" directive invalid number'),
    Row("http", "keepalive_timeout 1.5;", '"keepalive_timeout" directive invalid value'),
    Row("http", "send_timeout 1M;", '"send_timeout" directive invalid value'),
    Row("http", "send_timeout 1s 1h;", 'invalid number of arguments in "send_timeout" directive'),
    Row("http", 'send_timeout "1s 1h";', '"send_timeout" directive invalid value'),
    Row("http", "server_tokens foo;", 'invalid value "foo"'),
    Row("http", "satisfy foo;", 'invalid value "foo"'),
    Row("http", "proxy_next_upstream sometimes;", 'invalid value "sometimes"'),
    Row("location", "limit_except FOO { }", 'invalid method "FOO"'),
    Row("location", "error_page 200 /a;", 'value "200" must be between 300 and 599'),
    Row("location", "error_page 499 /a;", 'invalid value "499"'),
    Row("location", "error_page x /a;", 'invalid value "x"'),
    Row("location", "error_page 404 =x /a;", 'invalid value "=x"'),
    Row("location", "return x;", 'invalid return code "x"'),
    Row("location", "return 1000;", 'invalid return code "1000"'),
    Row("location", "rewrite ( b;", 'pcre2_compile() failed: missing closing parenthesis in "("'),
    Row("location", "rewrite a b foo;", 'invalid parameter "foo"'),
    Row("location", "if $host { }", 'invalid condition "$host"'),
    Row("location", "if ($host { }", 'invalid condition "$host"'),
    Row("location", "if () { }", 'invalid condition ")"'),
    Row("location", "if (a = b) { }", 'invalid condition "a"'),
    Row("location", "if ($host == b) { }", 'unexpected "==" in condition'),
    Row("location", "if ($host = b c) { }", 'invalid condition "$host"'),
    Row("location", "if (-f) { }", 'invalid condition "-f"'),
    Row("location", "if (-z a) { }", 'invalid condition "-z"'),
    Row("location", 'if ($host ~ "(") { }', 'pcre2_compile() failed: missing closing parenthesis in "("'),
    Row("location", 'index "";', 'index "" in "index" directive is invalid'),
]

VARIABLES = [
    Row("server", "return 200 ${nope;", 'the closing bracket in "nope" variable is missing'),
    Row("server", "set nope 1;", 'invalid variable name "nope"'),
    Row("server", "set $ 1;", 'invalid variable name "$"'),
    Row("server", "set $uri 1;", 'the duplicate "uri" variable'),
    Row("http", "map $host $uri { }", 'the duplicate "uri" variable'),
    Row("location", "root $document_root;", 'the $document_root variable cannot be used in the "root" directive'),
    Row("location", "alias $document_root;", 'the $document_root variable cannot be used in the "alias" directive'),
    Row("http", "access_log a.log nope;", 'unknown log format "nope"'),
    Row("server", "\naccess_log a.log nope;", 'unknown log format "nope"', 2),
    Row("location", "if ($host) {\n access_log a.log nope; }", 'unknown log format "nope"', 2),
]

UPSTREAMS = [
    Row("location", "proxy_pass http://nohost.invalid;", 'host not found in upstream "nohost.invalid"'),
    Row("location", "proxy_pass ftp://a;", "invalid URL prefix"),
    Row("location", "proxy_pass http://;", 'no host in upstream ""'),
    Row("location", "proxy_pass http://127.0.0.1:99999;", 'invalid port in upstream "127.0.0.1:99999"'),
    Row("location", "proxy_pass http://127.0.0.1:x;", 'invalid port in upstream "127.0.0.1:x"'),
    Row("location", "proxy_pass http://::1;", 'invalid port in upstream "::1"'),
    Row("http", "upstream u { server ::1:3000; }", 'invalid port in upstream "::1:3000"'),
    Row("http", "resolver ::1;", 'invalid port in resolver "::1"'),
    Row("location", "proxy_pass http://[::1;", 'invalid host in upstream "[::1"'),
    Row("location", "proxy_pass http://unix:;", 'no path in the unix domain socket in upstream "unix:"'),
    Row("server", "location ~ /a { proxy_pass http://127.0.0.1/x; }", WITH_URI),
    Row("server", "location ~* /a { proxy_pass http://127.0.0.1/; }", WITH_URI),
    Row("server", "location @a { proxy_pass http://127.0.0.1/x; }", WITH_URI),
    Row("location", "if ($host) { proxy_pass http://127.0.0.1/x; }", WITH_URI),
    Row("location", "limit_except GET { proxy_pass http://127.0.0.1/x; }", WITH_URI),
    Row("http", f"{UPSTREAM}{UPSTREAM}", 'duplicate upstream "u"', 2),
    Row("http", f"{UPSTREAM}upstream U {{ server 127.0.0.1; }}", 'duplicate upstream "U"', 2),
    Row("http", "upstream u { }", "no servers are inside upstream"),
    Row("http", "upstream u { server nohost.invalid; }", 'host not found in upstream "nohost.invalid"'),
    Row("http", "upstream u { server nohost.invalid:81; }", 'host not found in upstream "nohost.invalid:81"'),
    Row("http", "upstream u { zone a 1k; server 127.0.0.1; }", 'zone "a" is too small'),
    Row("http", "upstream u { zone a x; server 127.0.0.1; }", 'invalid zone size "x"'),
    Row("http", "upstream u { zone '' 64k; server 127.0.0.1; }", 'invalid zone name ""'),
    Row("http", "upstream u { zone a; server 127.0.0.1; }", 'zero size shared memory zone "a"', 0),
    Row(
        "http",
        "upstream u { zone a 64k; server 127.0.0.1; }\nupstream v { zone a 128k; server 127.0.0.1; }",
        'the size 131072 of shared memory zone "a" conflicts with already declared size 65536',
        2,
    ),
    Row("http", "upstream u { server 127.0.0.1:0; }", 'invalid port in upstream "127.0.0.1:0"'),
    Row("http", "upstream u { server 127.0.0.1 foo; }", 'invalid parameter "foo"'),
    Row("http", "upstream u { server 127.0.0.1 weight=0; }", 'invalid parameter "weight=0"'),
    Row(
        "http",
        f"{UPSTREAM}server {{ location / {{\nproxy_pass http://u:80; }} }}",
        'upstream "u" may not have port 80',
        3,
    ),
]

LOCATIONS = [
    Row("server", "location /a { }\nlocation /a { }", 'duplicate location "/a"', 2),
    Row("server", "location /a { }\nlocation ^~ /a { }", 'duplicate location "/a"', 2),
    Row("server", "location = /a { }\nlocation =/a { }", 'duplicate location "/a"', 2),
    Row("server", "location /a { location /ab { }\nlocation /ab { } }", 'duplicate location "/ab"', 2),
    Row("server", "location /a {\nlocation /b { } }", 'location "/b" is outside location "/a"', 2),
    Row("server", "location /a {\nlocation = /b { } }", 'location "/b" is outside location "/a"', 2),
    Row("server", "location ~ a {\nlocation /b { } }", 'location "/b" is outside location "a"', 2),
    Row("server", "location = /a {\nlocation /a { } }", 'location "/a" cannot be inside the exact location "/a"', 2),
    Row("server", "location = /a {\nlocation ~ a { } }", 'location "a" cannot be inside the exact location "/a"', 2),
    Row("server", "location @a {\nlocation /a { } }", 'location "/a" cannot be inside the named location "@a"', 2),
    Row("server", "location /a {\nlocation @b { } }", 'named location "@b" can be on the server level only', 2),
    Row("server", "location ~~ /a { }", 'invalid location modifier "~~"'),
    Row("server", "location ~ ( { }", 'pcre2_compile() failed: missing closing parenthesis in "("'),
    Row("server", "location ~* (a { }", 'pcre2_compile() failed: missing closing parenthesis in "(a"'),
    Row("server", "location @a {\nalias b; }", 'the "alias" directive cannot be used inside the named location', 2),
]

LISTENERS = [
    Row("server", "listen 28080;", "a duplicate listen 0.0.0.0:28080"),
    Row("server", "listen 28081 default_server;\nlisten *:28081;", "a duplicate listen 0.0.0.0:28081", 2),
    Row(
        "http",
        "server { listen 28081 default_server; }\nserver { listen 28081 default_server; }",
        "a duplicate default server for 0.0.0.0:28081",
        2,
    ),
    Row(
        "http",
        "server { listen 28081 backlog=5; }\nserver { listen 28081 backlog=6; }",
        "duplicate listen options for 0.0.0.0:28081",
        2,
    ),
    Row("server", "listen 99999;", 'invalid port in "99999" of the "listen" directive'),
    Row("server", "listen 0;", 'invalid port in "0" of the "listen" directive'),
    Row("server", "listen 127.0.0.1:x;", 'invalid port in "127.0.0.1:x" of the "listen" directive'),
    Row("server", "listen 28081-99999;", 'invalid port in "28081-99999" of the "listen" directive'),
    Row("server", "listen 28083-28081;", 'invalid port range in "28083-28081" of the "listen" directive'),
    Row("server", "listen nohost.invalid:28081;", 'host not found in "nohost.invalid:28081" of the "listen" directive'),
    Row("server", 'listen "a b:28081";', 'host not found in "a b:28081" of the "listen" directive'),
    Row("server", "listen [::1:28081;", 'invalid host in "[::1:28081" of the "listen" directive'),
    *(
        Row("server", f"listen {text};", f'invalid port in "{text}" of the "listen" directive')
        for text in ("::1", "::1:80", "2001:db8::1:8080", "a:b:c")
    ),
    Row("server", "listen :80;", 'no host in ":80" of the "listen" directive'),
    Row("server", 'listen "";', 'no host in "" of the "listen" directive'),
    Row("server", "listen unix:;", 'no path in the unix domain socket in "unix:" of the "listen" directive'),
    *(Row("server", f"listen 28081 {word};", f'invalid parameter "{word}"') for word in ("foo", "reuseport=on", "BACKLOG=5", "ipv6only=x")),
    *(
        Row("server", f"listen 28081 {word};", f'invalid {word.partition("=")[0]} "{word}"')
        for word in ("backlog=0", "backlog=-1", "backlog=x", "rcvbuf=x", "sndbuf=x", "fastopen=x")
    ),
    *(Row("server", f"listen 28081 so_keepalive={word};", f'invalid so_keepalive value: "{word}"') for word in ("x", "::")),
    Row("server", "listen [::1]:28081 ipv6only=of;", 'invalid ipv6only flags "of"'),
]  # fmt: skip

NAMES = [
    *(Row("server", f"server_name {name};", f'server name "{name}" is invalid') for name in ("*", "*.", ".", "*a.b")),
    Row("server", "server_name ~;", 'empty regex in server name "~"'),
    Row("server", "server_name ~(;", 'pcre2_compile() failed: missing closing parenthesis in "("'),
    *(
        Row(
            "http",
            f"{SERVER_A}server {{ listen 28081; server_name {name}; }}",
            f'invalid server name or wildcard "{name}" on 0.0.0.0:28081',
            0,
        )
        for name in ("a.*.b", "www*", "*.b.*", "a..b", "www.example.*.")
    ),
]

REFUSED = [*SHAPES, *PLACES, *DUPLICATES, *VALUES, *VARIABLES, *UPSTREAMS, *LOCATIONS, *LISTENERS, *NAMES]

# Accepted, with a warning.
DOUBTED = [
    Row("http", f"{SERVER_A}{SERVER_A}", 'conflicting server name "a" on 0.0.0.0:28081, ignored', 0),
    Row("http", f"{SERVER_A}{SERVER_A.replace('name a', 'name A')}", 'conflicting server name "a" on 0.0.0.0:28081, ignored', 0),
    Row(
        "http", f"{SERVER_A}{SERVER_A.replace('name a', 'name .a')}", 'conflicting server name ".a" on 0.0.0.0:28081, ignored', 0
    ),
    Row("http", "server { listen 28081; }\nserver { listen 28081; }", 'conflicting server name "" on 0.0.0.0:28081, ignored', 0),
    Row("server", "server_name a/b;", 'server name "a/b" has suspicious symbols'),
    Row("http", "proxy_next_upstream error error;", 'duplicate value "error"'),
    Row("http", "proxy_next_upstream error timeout;\nproxy_next_upstream http_502 timeout;", 'duplicate value "timeout"', 2),
    Row("http", "geo $a { 10.0.0.1/8 1; }", "low address bits of 10.0.0.1/8 are meaningless"),
]

# Accepted, and nothing said.
ACCEPTED = [
    Row("server", "location ~ /a { }\nlocation ~ /a { }", ""),
    Row("server", "location /a { }\nlocation = /a { }\nlocation ~ /a { }", ""),
    Row("server", "location a { }\nlocation = b { }\nlocation \"\" { }\nlocation ~ \"\" { }", ""),
    Row("server", r"location ~\.php$ { }" "\nlocation ^~/b { }\nlocation =/c { }", ""),
    Row("server", "location /a { location ~ b { } location = /ab { } location ^~ /abc { location /abcd { } } }", ""),
    Row("server", "listen 28081-28083;\nlisten [::1]:28084 ipv6only=on;\nlisten 28085 so_keepalive=30m::10 deferred bind;", ""),
    Row("server", "listen 28081 default ipv6only=on fastopen=0;\nlisten 127.0.0.1:28082 backlog=5 rcvbuf=8k sndbuf=8k;", ""),
    Row("server", "server_name a.example *.b.example c.* .d.example ~^e$ \"\" $hostname;", ""),
    Row("location", "return 404; return 404; rewrite a b; rewrite a b; set $x 1; set $x 2; break; break;", ""),
    Row("location", "proxy_set_header a b; proxy_set_header a c; add_header a b; add_header a b; index a; index b;", ""),
    Row("location", "error_page 404 /a; error_page 404 502 = @b; error_page 403 =200 /c;", ""),
    Row("location", "if ($host) { root a; error_page 404 /a; expires 1; add_header a b; access_log off; sendfile on; add_trailer a b; }", ""),
    Row("location", "if ($host) { rewrite a b; return 404; set $x y; break; rewrite_log on; uninitialized_variable_warn off; }", ""),
    Row("server", "if ($host) { rewrite a b; return 404; set $x y; break; rewrite_log on; uninitialized_variable_warn off; }", ""),
    Row("location", "limit_except get { proxy_pass http://127.0.0.1; access_log off; }", ""),
    Row("http", "sendfile ON; satisfy ANY; server_tokens build;", ""),
    Row("http", "proxy_hide_header a; proxy_hide_header a; proxy_pass_header b; proxy_pass_header b;", ""),
    Row("http", f"{UPSTREAM}server {{ location / {{ proxy_pass http://U; }} }}", ""),
]  # fmt: skip
