"""Differences that are on purpose, each with its reason, and those that are known and being mended (KNOWN, to be emptied)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from differential.comparison import Difference
from differential.conversation import Conversation
from differential.smaller import only


class Exemption(NamedTuple):
    """kind: a regex for the whole kind of a difference. seen: one that what is to be seen of it, or the configuration, has to hold.

    reason: why the difference may be. earlier: whether the conversations before it are looked at as well, because the two servers
    have remembered different things since.
    """

    kind: str
    seen: str
    reason: str
    earlier: bool = False

    def applies(self, difference: Difference, text: str) -> bool:
        """Whether a difference is this one."""
        shown = f"{difference.theirs}\n{difference.ours}\n{text}"
        return bool(re.fullmatch(self.kind, difference.kind) and re.search(self.seen, shown))


# How a reply shows that is none: the backend just closes the connection.
NO_REPLY = "(no reply)"
# How it shows that a request came in several segments.
IN_PIECES = "(in pieces)"

# An upstream that has a choice to make.
SEVERAL_PEERS = r"\bupstream [^{}]*\{(?:[^{}]*\bserver ){2}"

ON_PURPOSE = (
    Exemption(
        "interim", "100 Continue", "100 Continue is left out where nobody waits for it: the body is there, or nobody reads it"
    ),
    Exemption(
        "fields content-type",
        "(?i)x-accel-charset",
        "X-Accel-Charset names any charset, not only those that a directive mentions",
    ),
    Exemption(
        r"status  \d+|upstream count of requests",
        "(?i)proxy_pass_request_body off",
        "a body that is not passed on has no Content-Length either; nginx lets the upstream wait for it",
    ),
    Exemption("fields .*", r"^HTTP/1\.1 416", "an answer of 416 has nothing of the answer that it replaces"),
    Exemption(
        "fields location",
        r"(?s)HTTP/1\.1 \d+[^\0]*?\r\nLocation:[^\0]*?\r\nLocation:",
        "the first of two Locations counts, as in nginx of today",
    ),
    Exemption(
        "body",
        r"(?s)a padding to disable.*\nUser-Agent: [^\0]*?\nUser-Agent: ",
        "every User-Agent of a request tells of the browser, as in nginx of today",
    ),
    Exemption(r"status \d+ 500|upstream count of requests", "%20", "what a variable brings never breaks a request line: 500"),
    Exemption(
        "refused by nginx alone: directive is duplicate",
        "map_hash",
        "map_hash_* may follow a map, which is where nginx has made its own",
    ),
    Exemption("fields location", "http://[:/]", "a server_name that is empty is no host for a redirect"),
    Exemption(r"status \d+ 400", "(?s)HTTP/1.1 400.*max_headers", "max_headers counts all lines of a head"),
    Exemption(
        "upstream request",
        r"\A\d [^\n]*\n(?:(?!Host:)[^\n]+\n)*\n",
        "an upstream always gets a Host: $proxy_host where it would be empty",
    ),
    Exemption(
        "upstream request", "(?s)/unbuffered/.*" + re.escape(IN_PIECES), "a chunked body stays chunked until all of it is there"
    ),
    Exemption("fields date", "proxy_pass_header Date", "RFC 9110, 6.6.1: a Date is added where the upstream sent none"),
    Exemption(
        "upstream request|body|fields .*",
        r"\$\{?proxy_internal_",
        "variables that nginx has for its own use are empty",
    ),
    Exemption(
        r"status \d+ 500",
        r"add_(?:header|trailer) [^;]*\$\{?binary_remote_addr",
        "what a variable brings never breaks a head: 500",
    ),
    Exemption("framing", r"(?s)\[ reset\].*\[ closed\]", "whoever is left with something unread resets the connection"),
    Exemption(r"raw (.*)400 \| \1 ?400", "Header Or Cookie Too Large", "of two faults the other one is told"),
    Exemption(
        "refused by nginx alone: directive is duplicate",
        "proxy_cookie_flags",
        "of two lines after each other the wrong flag in the first is told",
    ),
    Exemption(
        "fields content-length",
        r"(?s)\AHTTP/1\.1 400.*HTTP/1\.1 304",
        "a 304 that an upstream gives for an error page is an empty page with a length",
    ),
    Exemption("fields server", "proxy_pass_header Server", "where the upstream has told no name, ours is told"),
    Exemption(
        "fields connection",
        "keepalive_(?:requests|time|timeout) ",
        "a limit of the server's holds also for what its own rewrite rules answer, before any location",
    ),
    Exemption(
        "fields connection",
        r"(?s)\bserver \{[^{}]*\b(?:return|rewrite|if) .*POST [^\0]*User-Agent: MSIE 6",
        "the same for keepalive_disable, whose default is msie6",
    ),
    Exemption(
        "status  200",
        r"(?s)gunzip (?i:on);.*Content-Encoding: gzip",
        "what is no gzip breaks off behind the head; nginx has not sent it yet, and closes without a word",
    ),
    Exemption(
        "fields .*",
        r"(?s)\AHTTP/1\.1 500.*HTTP/1\.1 500.*%20",
        "what a variable brings never breaks a request line: 500, also where the upstream would have said the same",
    ),
    Exemption(
        "fields content-type", "(?s)charset=.*X-Accel-Redirect", "the charset of an answer that was replaced means nothing"
    ),
    Exemption(
        r"raw (.*?) ?\| \1 ?(400|405)", "", "a body that ends early is answered with 400 where nginx closes without a word"
    ),
    Exemption(r"raw (.*?) ?(400|505) \| \1", "", "half a request line is no request, whatever is wrong with it so far"),
    Exemption(r"raw (.*?) ?400 \| \1 ?(413|505|405|501)", "", "of two faults the other one is told"),
    Exemption(r"status  \d+", r"charset \$", "a charset out of a variable that is empty is none; nginx breaks off"),
    Exemption(
        r"upstream count of requests|status 502 \d+",
        re.escape(NO_REPLY),
        "a kept connection that turns out to be dead is no failure of the peer, and the request is sent again",
    ),
    Exemption(
        r"fields .*",
        rf"(?s)\AHTTP/1\.1 502.*HTTP/1\.1 502.*{re.escape(NO_REPLY)}",
        "the same, and the answer to what was sent again is a 502, too",
    ),
    Exemption(
        "log lines|count of log lines",
        re.escape(NO_REPLY),
        "the tries at dead kept connections are written down, and each side has its own",
        earlier=True,
    ),
    Exemption(
        "fields (?:location|refresh)",
        r"(?s)proxy_pass [^{}]*location [^{}]*\{[^{}]*proxy_pass",
        "the default of proxy_redirect is that of a location's own proxy_pass; in nginx an inner location takes the outer one's",
    ),
    Exemption("body", r"<hr><center>(?!NAME)[^<]*/1\.\d+\.\d+<", "a filter has changed the name of the server in a page"),
    Exemption(
        "status 404 (?:200|304|412)",
        r"(?s)location ~[^{}]*\{(?=[^{}]*alias [^;{}]*[^/;];)[^{}]*autoindex (?i:on)",
        "a directory is listed also where its alias has no slash at its end; nginx cuts off a letter",
    ),
    Exemption("body", "(?s)Header Or Cookie Too Large.*max_headers", "the browser is known, where nginx has not read so far"),
    Exemption(
        "refused by nginx alone: the size must be.*", "connection_pool_size", "there are no pools whose sizes could disagree"
    ),
    Exemption(
        "fields .*",
        r"(?s)\AHTTP/1\.1 500[^\0]*?\n([\w-]+:[^\n]*)\n(?:[^\n]+\n)?\1\n",
        "a circle of redirects leaves nothing of the answers in it",
    ),
    Exemption(
        "fields order", r"Content-Range: bytes \*/", "the fields of a redirect that replaces a 416 come in their own order"
    ),
    Exemption(
        r"status \d+ (?:404|500)",
        r"(?s)try_files [^;]*\$request_uri.*\.\./",
        "a path made of variables does not climb, not even within the root",
    ),
    Exemption(
        r"upstream count of requests|upstream peer|status 502 \d+",
        rf"(?s){SEVERAL_PEERS}.*{re.escape(NO_REPLY)}",
        "a kept connection that turned out to be dead was no failure of the peer, which nginx leaves out from then on",
        earlier=True,
    ),
    Exemption("upstream request", r"(?i)\nconnection: [^\n]*x-one", "what Connection names goes no further (RFC 9110, 7.6.1)"),
    Exemption(
        r"raw .* \| .*", "(?s)chunked.*" + re.escape(IN_PIECES), "bad chunks may come when the answer to their request has gone"
    ),
    Exemption(
        r"raw .*|upstream count of requests|end of the connection",
        r"(?is)\nconnection:[^\n]*close.*\nconnection: keep-alive",
        "close in any Connection field closes (RFC 9112, 9.6); in nginx the last field counts",
    ),
    Exemption(
        r"fields (?:x-\w+|content-length)|body|log lines",
        r"(?is)content_length\}?.*transfer-encoding: chunked",
        "a chunked body has no $content_length; in nginx it has one as soon as the body was read or dropped",
    ),
    Exemption(r"raw .*400 \| .*", "7fffffffffffffff", "a chunk may be as large as numbers get, where nobody reads it"),
    Exemption(r"raw (.*) \| \1", "Expect", "a body that nobody reads is not waited for"),
    Exemption("fields content-length transfer-encoding", "HTTP/1.1 [45]", "a page of ours has a length"),
    Exemption(
        "accepted by nginx alone: invalid parameter",
        "proxy_cookie_flags",
        "a flag that does not exist is an error at the start, and not for each request",
    ),
)

# Faults of the list that issue 12 mends: a line goes as soon as its fault has.
KNOWN: tuple[Exemption, ...] = ()


# How differences show that follow from an earlier one: the balancers have been asked for different numbers of peers since.
_OTHER_CHOICE = re.compile(r"upstream peer")
_CHOICE_MADE = re.compile(r"upstream .*|status .*")
# And how they show when one of the two has seen a peer fail where the other has not: it leaves that peer out from then on.
_OTHER_HEALTH = re.compile(r"upstream count of requests|status (?:502 \d+|\d+ 502)")
# What lets a peer fail that was reached, in what the backend says or in the configuration.
_FAILURE = re.compile(rf"{re.escape(NO_REPLY)}|next_upstream [^;]*\bhttp_")


def unexplained(differences: Sequence[Difference], text: str, conversations: Sequence[Conversation]) -> list[Difference]:
    """Those of the differences, which are in the order in which they came about, that may not be."""
    left: list[Difference] = []
    are_choices_moved = is_health_moved = False
    for one in differences:
        if reason_of(one, text, conversations):
            is_choice = bool(_CHOICE_MADE.fullmatch(one.kind) and re.search(SEVERAL_PEERS, text))
            are_choices_moved |= is_choice
            is_health_moved |= is_choice and bool(_FAILURE.search(text + wording(only(conversations, one.conversation))))
            continue
        follows = are_choices_moved and _OTHER_CHOICE.fullmatch(one.kind)
        if not (follows or (is_health_moved and _OTHER_HEALTH.fullmatch(one.kind))):
            left.append(one)
    return left


def reason_of(difference: Difference, text: str, conversations: Sequence[Conversation]) -> str:
    """Why a difference may be; empty when it may not."""
    here = text + wording(only(conversations, difference.conversation))
    so_far = text + wording(conversations[: difference.conversation + 1 or None])

    def reason(one: Difference) -> str:
        return next((row.reason for row in (*ON_PURPOSE, *KNOWN) if row.applies(one, so_far if row.earlier else here)), "")

    kind, *names = difference.kind.split()
    found = reason(difference)
    if found or kind != "fields":
        return found
    # Several fields differ, each for a reason of its own.
    reasons = [reason(replace(difference, kind=f"fields {name}")) for name in names]
    return "; ".join(reasons) if all(reasons) else ""


def wording(conversations: Sequence[Conversation]) -> str:
    """What is said in conversations, by the client and then by the backend."""
    steps = [step for conversation in conversations for step in conversation.steps]
    asked = "".join(step.data.decode("latin-1") + (IN_PIECES if len(step.pieces) > 1 else "") for step in steps)
    return asked + "".join(reply.data.decode("latin-1") or NO_REPLY for step in steps for reply in step.replies)
