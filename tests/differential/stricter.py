"""Where wproxy refuses what nginx lets through, on purpose (docs/nginx-compatibility.md, "Requests that are refused").

A conversation with one of these in it is compared up to the refusal: what we answer has to be what nginx answers, and then may end
with a 400.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from differential.conversation import Conversation


class Stricter(NamedTuple):
    """reason: what is refused. pattern: what it looks like on the wire."""

    reason: str
    pattern: re.Pattern[bytes]


def _row(reason: str, pattern: bytes) -> Stricter:
    return Stricter(reason, re.compile(pattern))


STRICTER = (
    _row("a control character in the head", rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\x00]"),
    _row("a field without a colon", rb"(?m)^X(?:-One)?\r?$"),
    _row("a bare CR", rb"\r(?!\n)|^\r|\n\r[^\n]"),
    _row("a version of other digits, or a space behind it", rb"HTTP/(?:01\.1|1\.01|1\.10|11|1|1\.1x|0\.9)\r?\n|HTTP/1\.1 "),
    _row("a method of more than 32 letters", rb"[A-Z]{33}"),
    _row("HTTP/0.9", rb"(?m)^[A-Z_-]+ \S*\r?$"),
    _row("a scheme that is not HTTP", rb"ftp://"),
    _row("Host with bytes that no host has", rb"(?i)host *: *[^\r\n]*[^\w.:\[\]\r\n \t-]"),
    _row("Host with an empty label, or none", rb"(?i)host: *(?:\.|[^\r\n]*\.\.)|(?i:host): *[:-]?\r|//[^/\r\n ]*\.\."),
    _row("Host with a port that is none", rb"(?i)host: *[^\r\n]*:[^\r\n]*"),
    _row("a field that is folded", rb"\n[ \t]"),
    _row("a line end in chunks that is no CRLF", rb"[^\r]\n"),
    _row("a trailer that is no field", rb"\n0+\r\n(?:X\r\n|:| )"),
    _row("a body that ends early, which nginx does not answer", rb"(?:Content-Length|Transfer-Encoding)"),
    _row("a space before the request", rb"(?:^|\n|o)[ \t]"),
    _row("a name of a field that is no token, without ignore_invalid_headers", rb"X\.Dot"),
    _row("a character in the target that nobody sends unescaped", rb"[#\\]"),
    _row("nothing but ends of lines before a request, and many of them", rb"^(?:\r\n){9}"),
)


def strict_reason(conversation: Conversation) -> str:
    """Why a refusal may come earlier than nginx's; empty where it may not."""
    data = conversation.steps[0].data
    return next((one.reason for one in STRICTER if one.pattern.search(data)), "")
