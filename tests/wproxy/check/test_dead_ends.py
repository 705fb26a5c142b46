"""What is written and never reached, and requests that go in circles."""

from __future__ import annotations

import pytest
from texts import findings, reasons

PROXY = "proxy_pass http://127.0.0.1:3000;"

# A return in the server


@pytest.mark.parametrize(
    "answer",
    [
        "return 301 https://$host$request_uri;",
        "return 404;",
        "rewrite ^ https://example.com$request_uri? permanent;",
        "rewrite ^(.*)$ https://example.com$1;",
    ],
)
def test_a_server_that_always_answers_hides_its_locations(answer):
    (found,) = findings("server-return", f"location /a {{ {PROXY} }}\nlocation /b {{ {PROXY} }}\n{answer}")
    assert found.position.line == 7
    assert '"/a", "/b" (nginx.conf:5) are never used' in found.reason
    assert answer in found.fix


@pytest.mark.parametrize(
    "text",
    [
        "return 301 https://$host$request_uri;",
        "error_page 503 @sorry; return 503; location @sorry { return 200 sorry; }",
        "if ($arg_a) { return 403; } location / { return 204; }",
        "rewrite ^/old https://example.com/ permanent; location / { return 204; }",
        "rewrite ^ /index.php; location / { return 204; }",
        "location / { return 301 https://$host$request_uri; location /a { return 204; } }",
    ],
)
def test_servers_that_hide_nothing(text):
    assert reasons("server-return", text) == []


# Patterns that match nothing


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (r"~ \.php\?id=[0-9]+$", "arguments"),
        ("~ ^api/", "begins with a slash"),
        ("~* ^(?:api|img)/(.*)$", "begins with a slash"),
        ("~ /a$/b", "after $"),
        ("~ (a|b)^/c", "before ^"),
        ("~ ^/a%20b", "decoded"),
        ("~ ^/a//b", "merged"),
        ("~ https?://example", "merged"),
        ("~ /a#b", "no client sends"),
        ("~ (?:/x?y$)z", "after $"),
        ("api/", "begins with a slash"),
        ("= /a?b=c", "arguments"),
        ("^~ /a%2Fb", "decoded"),
        ("/a//b", "merged"),
    ],
)
def test_locations_that_no_path_comes_to(location, why):
    (reason,) = reasons("never-matches", f"location {' '.join(_quoted(word) for word in location.split(' '))} {{ return 204; }}")
    assert why in reason


def _quoted(word: str) -> str:
    return f'"{word}"' if set(word) & set("{};#") else word


@pytest.mark.parametrize(
    "location",
    [
        r"~ \.php$",
        "~ ^/api/",
        "~ ^.+/x$",
        "~ ^(?:/a|/b)$",
        "~ (^|/)x$",
        r"~ \?|/x",
        "~ ^[^a]pi",
        "~ /a(?=$)",
        "~ (a|$)",
        "~ ^/?a",
        "~ ^(?!/a)",
        "~ 100%",
        "~ /{0,2}a",
        r"~ (.git/git-receive-pack$|.git/info/refs\?service=git-receive-pack$)",
        "/a",
        "= /",
        "@x?y",
        "/100%",
    ],
)
def test_locations_that_a_path_may_come_to(location):
    text = " ".join(f'"{word}"' if "{" in word else word for word in location.split(" "))
    assert reasons("never-matches", f"location {text} {{ return 204; }}") == []


def test_slashes_that_are_not_merged_may_be_asked_for():
    assert reasons("never-matches", "merge_slashes off; location ~ ^/a//b { return 204; }") == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (r"rewrite ^/index\.php\?page=(.*)$ /p/$1 permanent;", 1),
        ("rewrite ^old/(.*)$ /new/$1;", 1),
        ("rewrite ^/old/(.*)$ /new/$1;", 0),
        (r"if ($uri ~ \?a=b) { return 403; }", 1),
        (r"if ($request_uri ~ \?a=b) { return 403; }", 0),
        ("if ($uri ~ ^/a) { return 403; }", 0),
    ],
)
def test_steps_that_no_path_comes_to(text, count):
    assert len(reasons("never-matches", text)) == count


def test_a_regex_behind_one_that_takes_all_is_never_asked():
    (found,) = findings(
        "never-matches", "location ~ / { return 204; }\nlocation /a { return 204; }\nlocation ~ \\.css$ { expires 1d; }"
    )
    assert found.position.line == 7
    assert (
        found.reason
        == 'location "~ \\.css$" is never used: regexes are tried in order, and location "~ /" (nginx.conf:5) matches all'
    )
    assert reasons("never-matches", "location ~ \\.css$ { expires 1d; }\nlocation ~ / { return 204; }") == []


# try_files in circles


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("location / { try_files $uri $uri/; }", "/x to /x/"),
        ("location / { try_files $uri.html $uri/index.html $uri; }", "/x to /x"),
        ("location / { try_files $uri $uri.html; }", "/x to /x.html to /x.html.html"),
        ("location / { try_files $uri.html /index.html; }", "/x to /index.html"),
        ("location /app { root /srv; try_files $uri.gz /app/index.html?$args; }", "/app/x to /app/index.html"),
        (r"location ~ \.php$ { try_files /run$uri /index.php; }", "/.php to /index.php"),
    ],
)
def test_a_last_resort_that_comes_back(text, way):
    (reason,) = reasons("try-files-loop", text)
    assert f"({way})" in reason


@pytest.mark.parametrize(
    "text",
    [
        "location / { try_files $uri $uri/ =404; }",
        "location / { try_files $uri $uri/ /index.html; }",
        "location / { try_files $uri $uri/ /index.php?$args; }\nlocation ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; }",
        "location / { try_files $uri @app; }\nlocation @app { return 204; }",
        "location / { try_files /maintenance.html $uri /maintenance.html; }",
        "location / { try_files $uri.html /index.html; }\nlocation = /index.html { root /srv; }",
        "location / { try_files $uri /$lang/index.html; set $lang en; }",
        "location /a/ { try_files $uri /index.html; }",
        "location / { try_files $uri $uri.html; }\nlocation ~ \\.html$ { root /srv; }",
    ],
)
def test_last_resorts_that_come_to_an_end(text):
    assert reasons("try-files-loop", text) == []
