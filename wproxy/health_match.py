"""Whether an answer passes a health check: the tests of a `match` block (nginx Plus: ngx_http_upstream_hc_module, `match`).

All tests of a block have to pass; kinds that the block does not have are skipped. Without a block the status has to be
2xx or 3xx. Nothing here reads from a socket: the head is judged first, and the body only when a test needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wproxy.http import Request
from wproxy.regex import Regex, RegexTimedOut

if TYPE_CHECKING:
    from wproxy.config.model import Match

# The part of a body that is examined, as in nginx.
BODY_LIMIT = 256 * 1024

# The activities, in nginx's words.
CHECKING_STATUS = "checking status code"
CHECKING_HEADER = "checking header"
CHECKING_BODY = "checking body"
CHECKING_VARIABLES = "checking variables"
CHECKING_GRPC = "checking gRPC status"

# The message HealthCheckResponse whose status is SERVING: field 1, a varint, 1.
SERVING = b"\x08\x01"

Lines = Sequence[tuple[bytes, bytes, bytes]]  # lower-case name, name, value


class StatusTest(NamedTuple):
    """`status [!] CODE[-CODE]...`. ranges: first and last code of each."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def passes(self, status: int) -> bool:
        """Whether a status is wanted."""
        return any(first <= status <= last for first, last in self.ranges) is not self.negated


class HeaderTest(NamedTuple):
    """One `header`. name: lower case. operator: "" (present), "!" (absent), "=", "!=", "~" or "!~".

    An absent field passes only "!". A repeated field passes "=" and "~" when any of its lines does, "!=" and "!~" when none of
    its lines has the forbidden value.
    """

    name: bytes
    operator: str = ""
    value: bytes = b""
    regex: Regex | None = None

    def passes(self, lines: Lines) -> bool:
        """Whether the fields of a response are wanted. Raises RegexTimedOut."""
        values = [value for lower, _, value in lines if lower == self.name]
        if not values or self.operator in ("", "!"):
            return bool(values) is (self.operator != "!")
        if self.regex is not None:
            found = any(self.regex.search(value) for value in values)
        else:
            found = self.value in values
        return found is not self.operator.startswith("!")

    def __str__(self) -> str:
        name, value = self.name.decode("latin-1"), self.value.decode("latin-1")
        return {"": name, "!": f"! {name}"}.get(self.operator, f"{name} {self.operator} {value}")


class BodyTest(NamedTuple):
    """`body ~ REGEX` or, negated, `body !~ REGEX`."""

    regex: Regex
    negated: bool = False

    def passes(self, body: bytes) -> bool:
        """Whether a body is wanted. Raises RegexTimedOut."""
        return (self.regex.search(body) is not None) is not self.negated

    def __str__(self) -> str:
        return f"{'!~' if self.negated else '~'} {self.regex.text}"


class Verdict(NamedTuple):
    """The result of a check. doing: the activity when it was decided.

    reason: why it failed, in words for the log. is_trouble: there was no answer to judge. setting: the timer or limit that was
    reached, as described by `Settings.described`.
    """

    passed: bool
    doing: str
    reason: str = ""
    is_trouble: bool = False
    setting: str = ""


# The expectation without a `match`.
SUCCESS = StatusTest(((200, 399),))


def judge_head(match: Match, status: int, lines: Lines, request: Request) -> Verdict:
    """Judge everything but the body of an answer. request: the check, with what `require` reads of it and of the answer."""
    doing = CHECKING_STATUS
    if match.status is not None and not match.status.passes(status):
        return Verdict(False, doing, f"status {status}")
    for test in match.header:
        doing = CHECKING_HEADER
        try:
            if not test.passes(lines):
                return Verdict(False, doing, f'header "{test}"')
        except RegexTimedOut as error:
            return Verdict(False, doing, str(error))
    for template in (template for line in match.require for template in line):
        doing = CHECKING_VARIABLES
        if template.evaluate(request) in (b"", b"0"):
            return Verdict(False, doing, f'require "{template.text}"')
    return Verdict(True, doing)


def judge_call(status: bytes | None, message: bytes, accepted: int) -> Verdict:
    """Judge the answer to a call of grpc.health.v1.Health/Check: 0 and SERVING, or the accepted status if there is one.

    status: that of gRPC. message: the body, with the frame of a message.
    """
    shown = "no grpc-status" if status is None else f"grpc-status {status.decode('latin-1')}"
    if accepted:
        return Verdict(status == b"%d" % accepted, CHECKING_GRPC, shown)
    if status != b"0":
        return Verdict(False, CHECKING_GRPC, shown)
    return Verdict(message[5:] == SERVING, CHECKING_GRPC, f"{shown}, and the server says that it does not serve")


def judge_body(match: Match, body: bytes) -> Verdict:
    """Judge a body, or the part of it that is examined."""
    for test in match.body:
        try:
            if not test.passes(body[:BODY_LIMIT]):
                return Verdict(False, CHECKING_BODY, f'body "{test}"')
        except RegexTimedOut as error:
            return Verdict(False, CHECKING_BODY, str(error))
    return Verdict(True, CHECKING_BODY)
