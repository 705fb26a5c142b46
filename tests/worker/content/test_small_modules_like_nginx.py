"""empty_gif, random_index, msie_refresh and the variables about browsers, beside the real nginx (subrequests.md §7)."""

from __future__ import annotations

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SITE = """
server {
    listen 127.0.0.1:PORT; root DIR; msie_refresh on;
    location = /gif { empty_gif; }
    location = /page { error_page 404 = /gif; return 404; }
    location = /kept { error_page 404 /gif; return 404; }
    location /one/ { random_index on; }
    location /none/ { random_index on; }
    location /gone/ { random_index on; }
    location /off/ { random_index off; }
    location = /301 { return 301 "/to?a=\\"<b>%20&c^~`{}|'\\\\ ü"; }
    location = /302 { return http://elsewhere/; }
    location = /303 { return 303 /to; }
    location = /paged { error_page 301 /text; return 301 /to; }
    location = /text { return 200 text; }
    location = /replacing { error_page 404 /302; return 404; }
    location = /forcing { error_page 404 =404 /302; return 404; }
    location = /forcing_200 { error_page 404 =200 /302; return 404; }
    location = /caught { error_page 412 /text; return 301 /to; }
    location /proxied { proxy_pass http://BACK; proxy_set_header X-Status "302 Found"; proxy_set_header X-Add "Location: /to"; }
    location /browser/ {
        modern_browser msie 5.5; modern_browser gecko 1.0.0; modern_browser opera 9.0; modern_browser safari 413; modern_browser konqueror 3.0;
        ancient_browser Links Lynx netscape4; modern_browser_value new; ancient_browser_value old;
        return 200 "[$modern_browser][$ancient_browser][$msie]";
        location /browser/unlisted { modern_browser unlisted; return 200 "[$modern_browser][$ancient_browser]"; }
        location /browser/both { modern_browser unlisted; modern_browser gecko 1.5.0.1; return 200 "[$modern_browser][$ancient_browser]"; }
    }
    location /twice {
        modern_browser msie 5.5; modern_browser gecko 99; modern_browser msie 10; modern_browser gecko 1;
        return 200 "[$modern_browser]";
    }
    location /browserless { return 200 "[$modern_browser][$ancient_browser][$msie]"; }
}
"""

AGENTS = (
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
    "Mozilla/4.0 (compatible; MSIE 5.01; Windows NT 5.0)",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1) Opera 8.5",
    "Opera/9.80 (X11; Linux) Presto/2.12",
    "Opera",
    "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
    "Mozilla/5.0 (X11; U; Linux; rv:0.9.4) Gecko",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X) AppleWebKit/1 (KHTML) Version/4 Safari/525.3",
    "Mozilla/5.0 (Macintosh) Safari/85.7",
    "Mozilla/5.0 (compatible; Konqueror/3.5; Linux)",
    "Mozilla/4.72 [en] (X11; U; Linux)",
    "Links (2.1pre)",
    "curl/7",
    "",
    "MSIE ",
    "x MSIE 6",
    "x MSIE 60",
    "rv:",
)


def prepare(directory):
    for name in ("one", "none", "off"):
        (directory / name).mkdir()
        (directory / name).chmod(0o755)
    (directory / "one" / "file.txt").write_text("the only one\n")
    (directory / "one" / ".hidden").write_text("hidden\n")
    (directory / "one" / "directory").mkdir()
    (directory / "one" / "link").symlink_to("file.txt")
    import os

    os.utime(directory / "one" / "file.txt", (1e9, 1e9))


def test_they_answer_as_nginx_does(same_as_nginx: Comparison) -> None:
    old = "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"
    cases = [
        *("/gif", "/page", "/kept", "/one/", "/none/", "/gone/", "/off/", "/browserless"),
        *(ask("/gif", method=method) for method in ("HEAD", "POST")),
        ask("/gif", "If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT"),
        ask("/gif", "If-Modified-Since: Mon, 28 Sep 1970 06:00:01 GMT"),
        ask("/gif", "If-Unmodified-Since: Mon, 28 Sep 1970 05:00:00 GMT"),
        ask("/gif", "Range: bytes=0-1", 'If-None-Match: "x"'),
        ask("/one/", method="DELETE"),
        ask("/one/?a=b", method="HEAD"),
        *(ask(path, old) for path in ("/301", "/302", "/303", "/paged", "/one", "/proxied")),
        ask("/301", old, method="HEAD"),
        ask("/301", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0) Opera"),
        *(ask(path, old) for path in ("/replacing", "/forcing", "/forcing_200")),
        # The page is a 200 without a time or an ETag, as others are.
        *(
            ask(path, old, condition, method=method)
            for condition in (
                "If-Unmodified-Since: Mon, 13 Nov 2023 22:13:20 GMT",
                'If-Match: "x"',
                "If-Match: *",
                "If-None-Match: *",
                'If-None-Match: "x"',
                "If-Modified-Since: Mon, 13 Nov 2023 22:13:20 GMT",
            )
            for path in ("/301", "/caught", "/forcing", "/replacing")
            for method in ("GET", "HEAD")
        ),
    ]
    same_as_nginx(SITE, cases, "error", prepare)


def test_browsers_are_told_apart_as_nginx_does(same_as_nginx: Comparison) -> None:
    paths = ("/browser/", "/browser/unlisted", "/browser/both", "/browserless", "/twice")
    cases = [ask(path, f"User-Agent: {agent}") for agent in AGENTS for path in paths] + [ask(path) for path in paths]
    same_as_nginx(SITE, cases, "error", prepare)
