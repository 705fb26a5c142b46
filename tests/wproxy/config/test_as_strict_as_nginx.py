"""What nginx -t refuses or warns of, and so do we, in its words: each row was tried with nginx 1.31."""

from __future__ import annotations

import pytest

from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError

PASS = "proxy_pass http://127.0.0.1:1;"
AFTER = '"proxy_redirect default" should be placed after the "proxy_pass" directive'
VARIABLES = '"proxy_redirect default" cannot be used with "proxy_pass" directive with variables'
NO_REFERRER = 'the "none" or "blocked" referers are specified in the "valid_referers" directive without any valid referer'
SMALL_BUFFERS = 'the "large_client_header_buffers" size must be equal to or greater than "connection_pool_size"'
LATER = 'unknown log format "f", which is defined further down at nginx.conf:1: put that before this'
NETWORK = "low address bits of 10.0.0.1/8 are meaningless"

REFUSED = [
    (f"server {{ location / {{ proxy_redirect default; {PASS} }} }}", AFTER),
    (f"server {{ proxy_redirect default; location / {{ {PASS} }} }}", AFTER),
    ("server { location / { proxy_pass http://127.0.0.1:1$uri; proxy_redirect default; } }", VARIABLES),
    ('log_format f "$1";', 'unknown "1" variable'),
    ('log_format f "$2abc"; server { access_log a f; }', 'unknown "2abc" variable'),
    ("geo $1 $x { default a; }", 'unknown "1" variable'),
    ("upstream u { server 127.0.0.1:1; sticky route $1; }", 'unknown "1" variable'),
    ("upstream u { server 127.0.0.1:1; sticky learn create=$1 lookup=$uri zone=a:1m; }", 'unknown "1" variable'),
    ("server { location / { rewrite a ''; } }", "empty replacement"),
    ("large_client_header_buffers 4 511; server { } server { location / { } }", SMALL_BUFFERS),
    ("server { large_client_header_buffers 4 1k; connection_pool_size 2k; }", SMALL_BUFFERS),
    ("server { valid_referers none; location / { location /a { } } location /b { valid_referers a.example; } }", NO_REFERRER),
    (r"server { location / { valid_referers blocked ~\.example; } }", NO_REFERRER),
    (r"server { server_name ~^a; location / { valid_referers none server_names; } }", NO_REFERRER),
    ('access_log a f; log_format f "a";', LATER),
    ('server { location / { access_log a f; } } log_format f "a";', LATER),
    *(
        (f"server {{ location / {{ {PASS} {name} {first}; {name} {second}; }} }}", f'"{name}" directive is duplicate')
        for name, rule in (
            ("proxy_redirect", "/a /b"),
            ("proxy_redirect", "default"),
            ("proxy_cookie_domain", "a b"),
            ("proxy_cookie_path", "/a /b"),
            ("proxy_cookie_flags", "a secure"),
        )
        for first, second in (("off", "off"), ("off", rule), (rule, "off"))
    ),
]
TAKEN = [
    "server { location / { valid_referers none blocked server_names; } }",
    "server { location / { rewrite a ?; } }",
    "large_client_header_buffers 4 112; server { large_client_header_buffers 4 512; } server { server_name b; connection_pool_size 112; }",
    r"server { server_name ~^a *.b.example; location / { valid_referers none server_names; valid_referers ~a; } }",
    "server { location / { valid_referers none; valid_referers http://a.example; } location /r { valid_referers ~a; } }",
    f"server {{ location / {{ {PASS} proxy_redirect default; proxy_redirect default; proxy_redirect /a /b; }} }}",
    f"server {{ proxy_redirect off; location / {{ {PASS} proxy_redirect /a /b; }} }}",
    'log_format f "a"; server { access_log off; access_log a f; }',
]
WARNED = [
    ("", "server { allow 10.0.0.1/8; deny 10.0.0.0/8; deny 10.0.0.1/32; }"),
    ("", "server { location / { limit_except GET { deny 10.0.0.1/8; } } }"),
    ("debug_connection 10.0.0.1/8;", "server { }"),
]


def load(http: str, events: str = ""):
    text = f"events {{ {events} }} http {{ {http} }}"
    return load_text(text.encode(), "nginx.conf", "/prefix/", lambda host, port: [])


@pytest.mark.parametrize(("http", "text"), REFUSED)
def test_what_nginx_refuses_is_refused_in_its_words_and_nothing_else_is_said(http, text):
    with pytest.raises(ConfigurationError) as error:
        load(http)
    assert [str(problem) for problem in error.value.problems] == [f"{text} in nginx.conf:1"]


@pytest.mark.parametrize("http", TAKEN)
def test_what_nginx_takes_is_taken(http):
    assert load(http).warnings == ()


@pytest.mark.parametrize(("events", "http"), WARNED)
def test_what_nginx_warns_of_is_warned_of(events, http):
    assert [str(warning) for warning in load(http, events).warnings] == [f"{NETWORK} in nginx.conf:1"]


TOO_LATE = '"load_module" directive is specified too late'
MAIN_REFUSED = [
    ("load_module a.so; events { } http { } load_module b.so;", [TOO_LATE]),
    ("worker_cpu_affinity 012; events { }", ['invalid character "2" in "worker_cpu_affinity"']),
]


@pytest.mark.parametrize(("text", "problems"), MAIN_REFUSED)
def test_what_nginx_refuses_at_the_top_level_is_refused_in_its_words(text, problems):
    with pytest.raises(ConfigurationError) as error:
        load_text(text.encode(), "nginx.conf", "/prefix/", lambda host, port: [])
    assert [str(problem) for problem in error.value.problems] == [f"{text} in nginx.conf:1" for text in problems]


def test_in_toml_a_format_may_be_defined_further_down():
    text = b'[[http.server]]\nlisten = 1\n[http.server.access_log]\na = "f"\n[http.log_format]\nf = "$uri"\n'
    assert "f" in load_text(text, "wproxy.toml", "/prefix/", lambda host, port: []).log_formats
