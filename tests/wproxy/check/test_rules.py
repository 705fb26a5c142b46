"""Every rule finds its bad example, and says nothing about its good one."""

from __future__ import annotations

import textwrap

import pytest
from texts import found_in, reasons, rules_in, whole

from wproxy.check.finding import INFO, SEVERITIES
from wproxy.check.table import RULES, THEMES
from wproxy.config.convert import NGINX, TOML, convert
from wproxy.config.registry import REGISTRY

ALL = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))


@ALL
def test_the_bad_example_is_found_where_it_stands(rule):
    text = whole(rule.bad, rule.around)
    findings = [finding for finding in found_in(text) if finding.rule == rule.id]
    assert findings
    lines = len(text.splitlines())
    for finding in findings:
        assert finding.position is not None and 1 <= finding.position.line < lines
        assert finding.reason and finding.fix
        assert not finding.reason.endswith(".")
    assert rule.severity in {finding.severity for finding in findings} or rule.id == "unanchored-regex"


@ALL
def test_the_good_example_has_nothing_to_be_warned_of(rule):
    findings = found_in(whole(rule.good, rule.around))
    assert rule.id not in [finding.rule for finding in findings]
    assert [finding for finding in findings if finding.severity != INFO] == []


@ALL
def test_toml_gives_the_same_findings(rule):
    text = whole(rule.bad, rule.around)
    toml = convert(text.encode(), NGINX, TOML, "nginx.conf").decode()
    of_nginx_alone = "keepalive-by-default-version"  # an older nginx reads no TOML
    assert sorted(rules_in(toml, "wproxy.toml")) == sorted(name for name in rules_in(text) if name != of_nginx_alone)


def test_the_table_is_in_order():
    assert len(RULES) == sum(map(len, THEMES.values())), "two rules of one id"
    for rule in RULES.values():
        assert rule.severity in SEVERITIES
        assert rule.around in ("server", "http", "main")
        assert rule.id == rule.id.lower() and " " not in rule.id
        assert rule.bad != rule.good
        assert not rule.summary.endswith(".") and rule.why.endswith(".")


# The cases that one example cannot show.


@pytest.mark.parametrize(
    ("location", "url", "told"),
    [
        ("/api", "http://127.0.0.1/", "/api/x goes upstream as //x, /apix as /x"),
        ("/p/", "http://127.0.0.1/new", "/p/x goes upstream as /newx"),
        ("/p/", "http://127.0.0.1/n?x=1", "/p/x goes upstream as /n?x=1x"),
        ("^~ /api", "http://127.0.0.1/v1/", "/apix as /v1/x"),
        ("/p/", "http://unix:/s.sock:/uu", "/p/x goes upstream as /uux"),
    ],
)
def test_a_slash_that_is_missing_is_told_with_what_comes_of_it(location, url, told):
    (reason,) = reasons("proxy-pass-slash-mismatch", f"location {location} {{ proxy_pass {url}; }}")
    assert told in reason


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/api/", "http://127.0.0.1"),
        ("/api/", "http://127.0.0.1/"),
        ("/api", "http://127.0.0.1"),
        ("/api", "http://127.0.0.1/v1"),
        ("/", "http://127.0.0.1/"),
        ("= /e", "http://127.0.0.1/ex/"),
        ("/img/", "http://127.0.0.1/resize?path="),
    ],
)
def test_slashes_that_agree_are_no_mismatch(location, url):
    assert reasons("proxy-pass-slash-mismatch", f"location {location} {{ proxy_pass {url}; }}") == []


def test_a_prefix_that_stays_is_not_stripped():
    assert reasons("proxy-pass-strips-prefix", "location /a/ { proxy_pass http://127.0.0.1/a/; }") == []
    assert reasons("proxy-pass-strips-prefix", "location / { proxy_pass http://127.0.0.1/; }") == []


def test_fields_lost_are_named_and_so_is_where_they_were():
    text = (
        "proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;\n"
        "location / {\nproxy_set_header host a;\nproxy_pass http://127.0.0.1;\n}"
    )
    (reason,) = reasons("proxy-set-header-lost", text)
    assert "X-Real-IP (from nginx.conf:5) is lost" in reason and "Host," not in reason


def test_fields_are_not_lost_where_nothing_is_proxied():
    text = "proxy_set_header Host $host;\nlocation / {\nproxy_set_header X a;\nreturn 204;\n}"
    assert reasons("proxy-set-header-lost", text) == []


def test_merged_fields_are_not_lost():
    text = "add_header A a;\nlocation / {\nadd_header_inherit merge;\nadd_header B b;\nreturn 204;\n}"
    assert reasons("add-header-lost", text) == []
    assert reasons("add-header-lost", text.replace("merge", "on"))


def test_an_if_loses_fields_too():
    text = "location / {\nadd_header A a;\nif ($arg_x) { add_header B b; }\n}"
    (reason,) = reasons("add-header-lost", text)
    assert reason.startswith('if "($arg_x)"')


def test_a_public_name_is_its_own_host():
    assert reasons("missing-host", "location / { proxy_pass http://api.example.com; }") == []
    assert reasons("missing-host", "location / { proxy_pass http://unix:/app.sock; }")


def test_keepalive_in_an_upstream_that_nobody_wrote_is_nobodys_intention():
    text = (
        "upstream app { server 127.0.0.1; }\nserver { location / { proxy_set_header Connection close; proxy_pass http://app; } }"
    )
    assert reasons("keepalive-connection-close", text, "http") == []
    assert reasons("keepalive-connection-close", text.replace("app { ", "app { keepalive 4; ", 1), "http")


def test_a_map_that_closes_by_default_closes():
    text = (
        "map $http_upgrade $c { websocket upgrade; default close; }\nupstream app { server 127.0.0.1; keepalive 4; }\n"
        "server { location / { proxy_set_header Connection $c; proxy_pass http://app; } }"
    )
    assert reasons("keepalive-websocket-map", text, "http")
    assert reasons("keepalive-websocket-map", text.replace("default close", '"" ""'), "http") == []


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/app/websocket", "/socket.io/", "~ ^/(ws|api)/", "/cable", "= /v1/ws"])
def test_paths_of_websockets_are_known(path):
    assert reasons("websocket-without-upgrade", f"location {path} {{ proxy_pass http://127.0.0.1; }}")


@pytest.mark.parametrize("path", ["/", "/news/", "/wsdl", "/answers", "/cablecar"])
def test_other_paths_are_not(path):
    assert reasons("websocket-without-upgrade", f"location {path} {{ proxy_pass http://127.0.0.1; }}") == []


def test_a_websocket_needs_both_fields():
    text = "location / { proxy_set_header Upgrade $http_upgrade; proxy_pass http://127.0.0.1; }"
    assert reasons("websocket-without-upgrade", text)
    both = text.replace("{ ", '{ proxy_set_header Connection "upgrade"; ', 1)
    assert reasons("websocket-without-upgrade", both) == []


@pytest.mark.parametrize(
    ("path", "time", "severity"),
    [
        ("/ws/", "10s", "warning"),
        ("/ws/", "1m", "info"),
        ("/socket.io/", "1m", "info"),
        ("/", "1m", "info"),
        ("/", "10s", "info"),
    ],
)
def test_a_timeout_is_graver_where_even_pings_are_too_late(path, time, severity):
    fields = "proxy_set_header Upgrade $http_upgrade; proxy_pass http://127.0.0.1;"
    text = f"location {path} {{ {fields} proxy_read_timeout {time}; }}"
    found = [finding for finding in found_in(whole(text)) if finding.rule == "websocket-read-timeout"]
    assert [finding.severity for finding in found] == [severity]
    assert {"10s": "10 s", "1m": "60 s"}[time] in found[0].reason


def test_a_timeout_of_a_location_that_upgrades_only_because_all_do_is_its_own_affair():
    text = "proxy_set_header Upgrade $http_upgrade; location /api/ { proxy_pass http://127.0.0.1; proxy_read_timeout 20s; }"
    assert reasons("websocket-read-timeout", text) == []
    assert reasons("websocket-read-timeout", text.replace("/api/", "/ws/"))
    assert reasons("websocket-read-timeout", text.replace("proxy_read_timeout 20s;", ""))


@pytest.mark.parametrize("value", ["0", "0s", "0ms"])
@pytest.mark.parametrize("name", ["proxy_read_timeout", "proxy_connect_timeout", "proxy_send_timeout"])
def test_a_timeout_of_zero_in_any_unit(name, value):
    assert reasons("timeout-zero", f"{name} {value};")
    assert reasons("timeout-zero", f"{name} 1ms;") == []


@pytest.mark.parametrize("excuse", ["server 127.0.0.3 backup;", "server 127.0.0.4;"])
def test_a_live_server_is_not_alone_with_another(excuse):
    text = "upstream app { server 127.0.0.1; server 127.0.0.2 down; EXCUSE }"
    assert reasons("sole-live-server", text.replace("EXCUSE", ""), "http")
    assert reasons("sole-live-server", text.replace("EXCUSE", excuse), "http") == []


def test_a_name_is_told_once_and_localhost_not_at_all():
    text = "location /a { proxy_pass http://a.example.com; }\nlocation /b { proxy_pass http://a.example.com/x; }"
    assert len(reasons("name-at-start", text)) == 1
    assert reasons("name-at-start", "location / { proxy_pass http://localhost:3000; }") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("upstream app { server a.example.com; }", 1),
        ("upstream app { server a.example.com resolve; }", 0),
        ("upstream app { server a.example.com; upstream_start degraded; }", 0),
        ("upstream_start degraded; upstream app { server a.example.com; }", 0),
        ("upstream_start degraded; server { location / { proxy_pass http://a.example.com; } }", 0),
        ("upstream_start degraded; server { upstream_start strict; location / { proxy_pass http://a.example.com; } }", 1),
    ],
)
def test_a_name_is_told_where_a_start_depends_on_it(text, found):
    assert len(reasons("name-at-start", text, "http")) == found


def test_a_regex_that_takes_all_of_a_prefix():
    text = "location /admin/ { proxy_pass http://127.0.0.1; }\nlocation ~ ^/(admin|private)/ { proxy_pass http://127.0.0.2; }"
    (reason,) = reasons("regex-shadows-prefix", text)
    assert 'location "/admin/" is never used' in reason


@pytest.mark.parametrize(
    "regex",
    [
        "location ~ \\.php$ { return 404; }",
        "location ~ /\\.ht { deny all; }",
        "location ~ ^/other/ { proxy_pass http://127.0.0.1; }",
    ],
)
def test_regexes_that_refuse_or_are_elsewhere_take_nothing(regex):
    assert reasons("regex-shadows-prefix", f"location /a/ {{ proxy_pass http://127.0.0.1; }}\n{regex}") == []


def test_an_inner_regex_comes_first():
    inner = "location ~ \\.css$ { expires 1d; }"
    text = f"location /a/ {{ proxy_pass http://127.0.0.1; INNER }}\n{inner}"
    assert reasons("regex-shadows-prefix", text.replace("INNER", ""))
    assert reasons("regex-shadows-prefix", text.replace("INNER", inner)) == []


def test_ifs_that_only_return_are_fine():
    text = "location / { if ($arg_a) { return 403; } if ($arg_b) { rewrite ^ /b last; } try_files $uri =404; }"
    assert reasons("if-in-location", text) == []


def test_of_two_ifs_with_settings_one_counts():
    text = "location / { if ($arg_a) { add_header A a; } if ($arg_b) { expires 1d; } }"
    assert len(reasons("if-in-location", text)) == 2
    assert all("only the last one counts" in reason for reason in reasons("if-in-location", text))


@pytest.mark.parametrize(
    "text",
    [
        "return 302 http://a$uri;",
        "return http://a$document_uri;",
        "location / { rewrite ^ http://a$uri permanent; }",
        "location / { add_header X-Uri $uri; }",
        "location / { proxy_set_header X-Uri ${uri}; proxy_pass http://127.0.0.1; }",
        "location / { proxy_pass http://127.0.0.1$uri; }",
        "location ~ ^/a/([^/]+)$ { return 301 /b/$1; }",
        "location ~ ^/a/(?<name>[^/]+)$ { add_header X $name; }",
    ],
)
def test_decoded_text_in_headers(text):
    assert reasons("header-splitting", text)


@pytest.mark.parametrize(
    "text",
    [
        'return 200 "$uri";',
        "location / { rewrite ^ /b$uri last; }",
        "location ~ ^/a/([a-z]+)$ { return 301 /b/$1; }",
        r'location ~ "^/a/([^/\s]+)$" { return 301 /b/$1; }',
        "location / { try_files $uri /index.html; }",
    ],
)
def test_decoded_text_elsewhere(text):
    assert reasons("header-splitting", text) == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("location / { proxy_pass http://$http_x; }", True),
        ("location / { set $b $arg_b; proxy_pass http://$b; }", True),
        ("location ~ ^/p/(?<to>.+)$ { proxy_pass http://$to; }", True),
        ("location ~ ^/p/(.+)$ { proxy_pass http://$1; }", True),
        ("location / { set $b 127.0.0.1; proxy_pass http://$b; }", False),
        ("location / { proxy_pass http://127.0.0.1/$arg_x; }", False),
        ("location / { internal; proxy_pass http://$arg_b; }", False),
        ("location / { proxy_pass http://127.0.0.1:8000$uri; }", False),
        ("location / { proxy_pass http://127.0.0.1:8000${request_uri}; }", False),
    ],
)
def test_who_says_where_a_request_goes(text, is_found):
    assert bool(reasons("ssrf", text)) is is_found


def test_a_conflict_is_of_one_address():
    text = "server { listen 8080; server_name a A; }"
    assert len(reasons("conflicting-server-name", text, "http")) == 1
    two = "server { listen 8080; server_name a; }\nserver { listen 8081; server_name a; }"
    assert reasons("conflicting-server-name", two, "http") == []
    assert reasons("conflicting-server-name", "server { listen 8080 ssl; listen 8080 quic; server_name a; }", "http") == []


def test_what_the_lesson_shows_in_its_websocket_chapter():
    text = textwrap.dedent("""
        map $http_upgrade $connection_upgrade { default upgrade; "" close; }
        upstream backend { server 127.0.0.1:3000; keepalive 32; }
        server {
            location /ws/ {
                proxy_pass http://backend;
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $connection_upgrade;
                proxy_read_timeout 3600s;
                proxy_set_header Host $host;
            }
        }""")
    warned = [finding.rule for finding in found_in(whole(text, "http")) if finding.severity != INFO]
    assert warned == ["keepalive-websocket-map"]


@pytest.mark.parametrize("arguments", ["", '""', "$", "~ (", "all", "/ $1", '"" ""', "$uri $a 0", "a b c d"])
def test_no_rule_stumbles_over_what_t_refuses(arguments):
    simple = "".join(f"{name} {arguments};\n" for name in REGISTRY)
    blocks = "".join(f"{name} {arguments} {{\n{simple}}}\n" for name in ("location", "if", "upstream", "map", "limit_except"))
    text = (
        f"{simple}events {arguments} {{}}\nhttp {{\n{simple}{blocks}server {{\n{simple}{blocks}location / {{\n{blocks}}}\n}}\n}}"
    )
    assert "configuration" in rules_in(text)
