"""ssi beside the real nginx: commands, expressions, errors, what pages share (subrequests.md §5)."""

from __future__ import annotations

import os
from pathlib import Path

from like_nginx import Comparison, ask, needs_nginx, nginx_version, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SITE = """
map $uri $mapped { default $uri; }
server {
    listen 127.0.0.1:PORT; root DIR; ssi on; set $ours "a<b&\\"c\\" d%";
    location /off/ { ssi off; alias DIR/; }
    location /types/ { ssi_types text/plain; alias DIR/; default_type text/plain; }
    location /silent/ { ssi_silent_errors on; alias DIR/; }
    location /modified/ { ssi_last_modified on; add_header X-Mapped $mapped; alias DIR/; }
    location /short/ { ssi_value_length 8; alias DIR/; }
    location /denied/ { deny all; alias DIR/; }
    location = /gone { return 404; }
    location = /none { return 204; }
    location = /dead { proxy_pass http://DEAD; error_page 502 /paged; }
    location = /dead204 { proxy_pass http://DEAD; error_page 502 =204 @empty; }
    location @empty { return 204; }
    location = /paged { return 200 "error page\n"; }
    location = /echo { proxy_pass http://BACK; }
    location = /redirect { return 302 /x; }
    location = /headers { add_header Set-Cookie a=b; return 200 "headers\n"; }
    location /dir/ { alias DIR/; }
    location /changed/ { alias DIR/; sub_filter inner INNER; sub_filter_once off; }
}
"""

PAGES = {
    "include": '<a><!--#include virtual="/inner.html" --><b><!--# include file="inner.html" --><c>',
    "relative": '[<!--#include virtual="inner.html?x=1&y=%41" -->][<!--#include virtual="http://x/y" -->]',
    "failures": '[<!--#include virtual="/gone" -->|<!--#include virtual="/none" -->|<!--#include virtual="/dead" -->|'
    '<!--#include virtual="/redirect" -->|<!--#include virtual="/missing" -->]',
    "unsafe": '[<!--#include virtual="/../x" -->][<!--#include virtual="a/../b" -->][<!--#include virtual="/%2e%2e/x" -->]',
    "wrong": '[<!--#include -->][<!--#include virtual="/a" file="/b" -->][<!--#include file="a" wait="yes" -->]'
    '[<!--#include virtual="/none" wait="x" -->][<!--#include virtual="/none" set="a" stub="b" -->]'
    '[<!--#include virtual="/none" stub="nothing" -->][<!--#include virtual="/none" nonsense="b" -->]'
    '[<!--#include virtual="/none" virtual="/none" -->][<!--#nonsense -->][<!--#echo -->][<!--#set var="a" -->][<!--#if -->]',
    "syntax": '[<!-- # echo var="uri" -->][<!--#echo var=uri -->][<!--#echo var "uri" -->][<!--#echo var="uri"x -->]'
    '[<!--#echo var="uri" - ->][<!--#ECHO var="uri" -->][<!--#echo VAR="uri" -->][<!--#echovar="uri" -->]'
    "[<!--#echo var='uri'-->][<<!--#echo var='uri' -->][<!<!--#echo var='uri' -->][<!--#echo\n\t var\n=\r\n'uri'\n-->]"
    '[<!--#aVeryLongCommandWithMoreThan32Characters -->][<!--#echo aVeryLongParameterWithMoreThan32Characters="x" -->]'
    '[<!--#echo var="it\'s" default=\'say "a"\' -->][<!--#-->][<!--# -->]',
    "long": f'[<!--#echo var="{"x" * 255}" -->][<!--#echo var="{"x" * 256}" -->]',
    "end1": "text<",
    "end2": "text<!--",
    "end3": 'text<!--#echo var="uri"',
    "end4": 'text<!--#echo var="uri" --',
    "end5": "text<!--#if expr='' -->hidden",
    "echo": '[<!--#echo var="uri" -->][<!--#echo var="URI" -->][<!--#echo var="nothing" -->][<!--#echo var="nothing" default="<x>" -->]'
    '[<!--#echo var="args" -->][<!--#echo var="arg_a" -->][<!--#echo var="ours" -->][<!--#echo encoding="none" var="ours" -->]'
    '[<!--#echo var="ours" -->][<!--#echo encoding="url" var="ours" -->][<!--#echo encoding="what" var="ours" -->]'
    '[<!--#echo encoding="entity" var="ours" -->][<!--#echo var="http_host" -->][<!--#echo var="1" -->]',
    "set": '<!--#set var="A" value="one" --><!--#set var="b" value="[$a ${a}x \\$a \\\\ \\x $nothing]" --><!--#echo var="B" -->'
    '<!--#set var="uri" value="mine" -->[<!--#echo var="uri" -->][<!--#set var="c" value="${a" -->][<!--#set var="c" value="$" -->]'
    '[<!--#set var="c" value="$-" -->][<!--#echo var="c" -->]',
    "if": "".join(
        f"({text})<!--#if expr='{text}' -->yes<!--#elif expr=\"$arg_b = 2\" -->b<!--#else -->no<!--#endif -->\n"
        for text in (
            "",
            "0",
            "x",
            "$nothing",
            "$arg_a",
            "$arg_a = 1",
            "$arg_a != 1",
            "$arg_a=1",
            "$arg_a = 1 ",
            "ABC = abc",
            "ABC < $x",
            "ABC = /x",
            "abc = ABC",
            "$arg_a = /1/",
            "$arg_a = /^[0-9]+\\$/",
            "$arg_a != /2/",
            "$arg_c = /(?i)XY/",
            "$arg_a = \\/1",
            "/ = /",
            "$arg_a && 1",
            "$arg_a < 2",
            "$arg_a = /1",
            "$arg_a = /(/",
            "$arg_a == 1",
            '"x" = "x"',
            "$ARG_A = 1",
            "${arg_a}b = 1b",
        )
    ),
    "captures": '<!--#if expr=\'$arg_c = /(?<first>x)(.)/\' -->[<!--#echo var="0" --><!--#echo var="1" --><!--#echo var="2" -->'
    '<!--#echo var="3" --><!--#echo var="FIRST" --><!--#set var="d" value="$1-$2-$9" --><!--#echo var="d" -->]<!--#endif -->'
    "<!--#if expr='$arg_c = /no/' --><!--#endif -->[<!--#echo var=\"1\" -->]",
    "nested": "<!--#if expr='1' -->a<!--#if expr='' -->b<!--#endif -->c<!--#endif -->d<!--#else -->e<!--#elif expr='1' -->f"
    "<!--#if expr='' -->g<!--#nonsense --><!--#echo var='uri' --><!--#if expr='1' -->h<!--#endif -->i<!--#endif -->j",
    "config": '<!--#config errmsg="[oops]" --><!--#nonsense --><!--#config timefmt="%Y" --><!--#include virtual="/nonsense.html" -->'
    '<!--#config timefmt="%s%s" --><!--#config errmsg="x" -->[<!--#nonsense -->]',
    "block": '<!--#block name="one" -->in <!--#echo   var="uri"   --> the block<!--#endblock -->'
    '[<!--#include virtual="/none" stub="one" -->][<!--#include virtual="/gone" stub="one" -->][<!--#include virtual="/dead204" stub="one" -->]'
    '[<!--#include virtual="/inner.html" stub="one" -->][<!--#block name="two" -->x<!--#if expr="1" -->y<!--#endif --><!--#endblock -->]'
    '[<!--#include virtual="/empty.html" stub="two" -->][<!--#include virtual="/off/empty.html" stub="one" -->]',
    "kept": '[<!--#include virtual="/inner.html" set="a" --><!--#echo var="a" encoding="none" -->][<!--#include virtual="/gone" set="a" -->'
    '<!--#echo var="a" encoding="none" -->][<!--#include virtual="/none" set="a" --><!--#echo var="a" -->]',
    "created": '[<!--#include virtual="/gone" set="new" --><!--#echo var="new" -->][<!--#include virtual="/inner.html" set="1" -->'
    '<!--#echo var="1" -->][<!--#include virtual="/../x" set="other" --><!--#echo var="other" -->]',
    "nowhere": '[<!--#include virtual="$nothing" -->][<!--#include virtual="$nothing$nothing" wait="yes" -->][<!--#include file="$nothing" -->]'
    '[<!--#include virtual="$nothing" set="a" --><!--#echo var="a" -->][<!--#include virtual="$nothing/inner.html" -->]',
    "sticky": '[<!--#echo var="args" default="" encoding="none" -->][<!--#echo var="nothing" default="" encoding="none" -->'
    '<!--#echo var="ours" -->][<!--#set var="e" value="" --><!--#echo var="e" encoding="none" --><!--#echo var="e" encoding="what" -->'
    '<!--#echo var="ours" -->][<!--#echo var="nothing" encoding="none" --><!--#echo var="ours" -->]',
    "shared": '<!--#set var="v" value="outer" --><!--#include virtual="/sets.html" wait="yes" -->[<!--#echo var="v" -->]'
    '[<!--#echo var="mapped" -->][<!--#include virtual="/mapped.html" -->]',
    "sets": '(<!--#echo var="v" --><!--#set var="v" value="inner" --><!--#echo var="v" -->)',
    "mapped": '(<!--#echo var="mapped" -->)',
    "changed": 'inner <!--#include virtual="/inner.html" --><!--#include virtual="/changed/inner.html" -->',
    "all": '<!--#include virtual="/denied/inner.html" --><!--#include virtual="/headers" --><!--#include virtual="/echo?a=b" -->',
    "deep": '<!--#include virtual="/dir/relative.html" -->',
    "round": '(<!--#include virtual="/round.html" -->)',
    "inner": 'inner <!--#echo var="uri" --> <!--#echo var="args" -->\n',
    "nonsense": "<!--#nonsense -->",
    "empty": "",
    "plain": "no commands at all",
}


def prepare(directory: Path) -> None:
    for name, text in PAGES.items():
        for file in (directory / f"{name}.html", directory / name):
            file.write_bytes(text.encode("latin-1"))
            os.utime(file, (1e9, 1e9))


def test_pages_are_as_nginx_makes_them(same_as_nginx: Comparison) -> None:
    # Of responses without a body, in which nginx 1.26 differs from 1.22.
    others = {"block", "kept"} if nginx_version() > (1, 22) else set()
    cases = [ask(f"/{name}.html?a=1&c=axyb") for name in PAGES if name not in others]
    same_as_nginx(SITE, cases, "error", prepare, joins_chunks=True)


def test_fields_and_settings_are_as_in_nginx(same_as_nginx: Comparison) -> None:
    paths = [
        f"/{where}/{page}"
        for where in ("off", "types", "silent", "modified", "short", "changed")
        for page in ("wrong.html", "echo")
    ]
    cases = [
        *paths,
        ask("/include.html", method="HEAD"),
        ask("/include.html", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
        ask("/include.html", "Range: bytes=0-3"),
        ask("/plain.html", version="1.0"),
        ask("/include.html", "Accept-Encoding: gzip", version="1.0"),
        ask("/all.html", "Range: bytes=0-3", "X-Y: z"),
        "/gone",
        "/index",
    ]
    same_as_nginx(SITE, cases, "error", prepare, joins_chunks=True)
