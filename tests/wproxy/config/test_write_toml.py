"""The writer of wproxy.toml: what it writes is read back as the same tree, and it looks like TOML, not like nginx.conf."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from trees import HERE, TREES, in_order_that_matters, lookup, root

from wproxy.config.nginx import parse_nginx, read_nginx
from wproxy.config.toml import parse_toml
from wproxy.config.tree import ConfigurationError, Node
from wproxy.config.write_toml import write_toml


def toml(text: str) -> str:
    """What an nginx.conf becomes."""
    document = read_nginx(text.encode(), "f")
    return write_toml(document.root, document.comments, lookup)


def in_block(header: str, text: str) -> str:
    """What directives become in the block of this header, without the header."""
    opened = header.count("{")
    written = toml(header + text + "}" * opened)
    return written.split("]\n", 1)[1] if "]\n" in written else written


def in_location(text: str) -> list[str]:
    before, _, after = toml("http { server { location / {" + text + "}}}").partition('[http.server.location."/"]\n')
    assert before
    return after.splitlines()


@settings(deadline=None)
@given(TREES)
def test_what_is_written_is_read_back(tree):
    read = parse_toml(write_toml(tree, None, lookup).encode(), "f", lookup)
    assert in_order_that_matters(read.children) == in_order_that_matters(tree.children)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("sendfile on;", ["sendfile = true"]),
        ("sendfile ON;", ['sendfile = "ON"']),
        ("keepalive_timeout 75;", ["keepalive_timeout = 75"]),
        ("keepalive_timeout 75 60s;", ['keepalive_timeout = [75, "60s"]']),
        ("keepalive_timeout 007;", ['keepalive_timeout = "007"']),
        ("error_page 404 /404;", ['error_page = [[404, "/404"]]']),
        ("error_page 404 /4; error_page 500 502 /5;", ['error_page = [[404, "/4"], [500, 502, "/5"]]']),
        ("proxy_hide_header A; proxy_hide_header B;", ['proxy_hide_header = ["A", "B"]']),
        ("proxy_set_header Host 1;", ['proxy_set_header = { Host = "1" }']),
        ("proxy_set_header A b; proxy_set_header C d;", ['proxy_set_header = { A = "b", C = "d" }']),
        ("proxy_set_header A b; proxy_set_header A c;", ['proxy_set_header = { A = [["b"], ["c"]] }']),
        (
            "proxy_set_header A b; proxy_set_header C d; proxy_set_header A c;",
            ['proxy_set_header = [["A", "b"], ["C", "d"], ["A", "c"]]'],
        ),
        (
            "proxy_set_header A b; proxy_set_header C d; proxy_set_header E f;",
            ["", '[http.server.location."/".proxy_set_header]', 'A = "b"', 'C = "d"', 'E = "f"'],
        ),
        ("add_header A 'b c' always;", ['add_header = { A = ["b c", "always"] }']),
        ("deny all;", ['deny = "all"']),
        ("allow 10.0.0.1; allow 10.0.0.2; deny all;", ['allow = ["10.0.0.1", "10.0.0.2"]', 'deny = "all"']),
        (
            "deny 10.0.0.1; allow 10.0.0.0/8; deny all;",
            ["steps = [", '    ["deny", "10.0.0.1"],', '    ["allow", "10.0.0.0/8"],', '    ["deny", "all"],', "]"],
        ),
        ("return 204;", ["return = 204"]),
        ("return 200 '5';", ['return = [200, "5"]']),
        ("break;", ["break = true"]),
        ("set $a 1; return 200 $a;", ['set = ["$a", "1"]', 'return = [200, "$a"]']),
        (
            "set $a 1; if ($b) { set $a 2; } set $c 3;",
            [
                "steps = [",
                '    ["set", "$a", "1"],',
                '    ["if", "($b)", [',
                '        ["set", "$a", "2"],',
                "    ]],",
                '    ["set", "$c", "3"],',
                "]",
            ],
        ),
        ("if ($a = 'b c') { return 403; }", ["", "[http.server.location.\"/\".if.'($a = \"b c\" )']", "return = 403"]),
        ("limit_except GET POST { deny all; }", ["", '[http.server.location."/".limit_except."GET POST"]', 'deny = "all"']),
        (r"location ~ \.php$ { }", ["", r"""[http.server.location."/".location.'~ \.php$']"""]),
        ("sendfile on; sendfile off;", ["steps = [", '    ["sendfile", true],', '    ["sendfile", false],', "]"]),
        ("unheard of;", ["steps = [", '    ["unheard", "of"],', "]"]),
        ("unheard of { a b; }", ["steps = [", '    ["unheard", "of", [', '        ["a", "b"],', "    ]],", "]"]),
        ("types { text/html html htm; a/b c; }", ["", '[http.server.location."/".types]', '"text/html" = ["html", "htm"]', '"a/b" = "c"']),
    ],
)  # fmt: skip
def test_what_a_directive_becomes(text, lines):
    assert in_location(text) == lines


def test_a_whole_file():
    text = """\
        # the whole
        events { }
        http {
            sendfile on; # quick
            upstream app { ip_hash; server 10.0.0.1:80 weight=3 backup; server 10.0.0.2 max_fails=x; }
            map $http_upgrade $connection_upgrade { default upgrade; '' close; ~^a "b\\"c"; hostnames; }
            geo $x { delete 10.0.0.0/8; 10.0.0.1 y; delete 10.0.0.2; }
            server { listen 80 default_server; listen [::]:80; server_name a *.a; location /a { } }
            server { listen 81; location = /a { } location = /a { } }
        }
        """
    assert (
        toml(text)
        == """\
# the whole
[events]

[http]
# quick
sendfile = true
steps = [
    ["geo", "$x", [
        ["delete", "10.0.0.0/8"],
        ["10.0.0.1", "y"],
        ["delete", "10.0.0.2"],
    ]],
]

[http.upstream.app]
ip_hash = true
server = { "10.0.0.1:80" = { weight = 3, backup = true }, "10.0.0.2" = { max_fails = "x" } }

[http.map."$http_upgrade $connection_upgrade"]
default = "upgrade"
"" = "close"
"~^a" = 'b"c'
hostnames = true

[[http.server]]
listen = [[80, "default_server"], "[::]:80"]
server_name = [["a", "*.a"]]

[http.server.location."/a"]

[[http.server]]
listen = 81

[[http.server.location."= /a"]]

[[http.server.location."= /a"]]
"""
    )


def test_comments_stay_with_their_directives():
    assert toml("# one\n#two\nevents { # three\n # end of events\n}\n# last\x01\n") == (
        "# one\n#two\n# three\n[events]\n    # end of events\n# last?\n"
    )


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(ConfigurationError, match=r"not UTF-8: byte 0xff is not allowed in TOML in f:2"):
        write_toml(parse_nginx(b"http {\na \xff; }", "f"))


def test_a_string_is_written_so_that_it_is_easy_to_read():
    words = (r"\d", 'a"b', "a'\"b", "a\nb", "\x00", "\u00e9", "a\tb")
    (line,) = write_toml(root([Node("odd", words, HERE)]), None, lambda name, context: None).splitlines()[1:2]
    assert line.strip() == r"""["odd", '\d', 'a"b', "a'\"b", "a\nb", "\u0000", "é", "a\tb"],"""
