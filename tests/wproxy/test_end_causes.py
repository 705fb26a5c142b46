"""The vocabulary of end causes: its page, and that failures have words of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.upstream.failing import CONNECTING, HANDSHAKING, READING, READING_HEAD, SENDING, code_of
from wproxy.end_causes import CODES, END_CAUSES, PAGE, page
from wproxy.failures import BodyBrokenOff, ClientError, UpstreamFailure

HOUSE = Path(__file__).parents[2]

# A word that is given to a failure, or to a request.
GIVEN = re.compile(r'"((?:cl|deny|limit|up|dns|tun|conf)_[a-z0-9_]+|closed_444|no_room|disk|file|regex_slow|drained|bug)"')


def test_the_page_is_the_table():
    assert Path(PAGE).read_text("utf-8") == page(), "run python -m wproxy.end_causes"


def test_every_word_is_said_somewhere_and_no_other_one():
    said = set()
    for room in ("wproxy", "worker"):
        for path in (HOUSE / room).rglob("*.py"):
            if path.name != "end_causes.py":
                text = path.read_text("utf-8")
                said.update(re.findall(r'(?:ends\(|code=|code = |End\([^)]*)"([a-z][a-z_0-9]+)"', text))
                said.update(word for word in GIVEN.findall(text) if word in END_CAUSES)
    said -= {"invalid", "utf-8"}
    assert said - {*CODES} == set()
    assert {*CODES} - said <= {"closed_444"}, "read from the status"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError(400, "client sent invalid method"), "cl_bad_request"),
        (ClientError(421, "another server"), "cl_bad_request"),
        (ClientError(494, "client sent too many header lines", "max_headers"), "cl_head_too_big"),
        (ClientError(413, "client intended to send too large body", "client_max_body_size"), "cl_body_too_big"),
        (ClientError(408, "client timed out", "client_header_timeout"), "cl_head_timeout"),
        (ClientError(408, "client timed out", "client_body_timeout"), "cl_body_timeout"),
        (ClientError(497, "plain"), "cl_tls_plain"),
        (ClientError(496, "no certificate"), "cl_tls_cert"),
        (ClientError(500, "a line break in a value"), "conf_value"),
        (BodyBrokenOff("client prematurely closed connection"), "cl_bad_body"),
    ],
)
def test_a_fault_of_the_client_has_the_word_of_its_limit_or_its_status(error: ClientError, code: str):
    assert error.code == code
    assert code in END_CAUSES


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (UpstreamFailure("timeout", "", CONNECTING), "up_connect_timeout"),
        (UpstreamFailure("timeout", "", HANDSHAKING), "up_connect_timeout"),
        (UpstreamFailure("timeout", "", SENDING), "up_send_timeout"),
        (UpstreamFailure("timeout", "", READING_HEAD), "up_head_timeout"),
        (UpstreamFailure("timeout", "", READING), "up_body_timeout"),
        (UpstreamFailure("error", "", HANDSHAKING), "up_tls"),
        (UpstreamFailure("error", "", SENDING), "up_send_failed"),
        (UpstreamFailure("error", "", READING_HEAD), "up_closed"),
        (UpstreamFailure("error", "", READING), "up_cut"),
        (UpstreamFailure("error", "", READING, "up_bad_body"), "up_bad_body"),
        (UpstreamFailure("error", "", READING, "up_reset"), "up_cut"),
        (UpstreamFailure("invalid_header", "", READING_HEAD), "up_bad_head"),
        (UpstreamFailure("http_503", "", READING_HEAD), "up_said"),
    ],
)
def test_a_failure_of_an_upstream_has_the_word_of_its_kind_and_activity(failure: UpstreamFailure, code: str):
    assert code_of(failure) == code
    assert code in END_CAUSES
