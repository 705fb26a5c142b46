"""What can go wrong, told apart by guilt."""

from __future__ import annotations

import pytest

from wproxy.directives.proxy import FAILURES
from wproxy.failures import CannotBegin, ClientError, ClientGone, TimedOut, UpstreamFailure, reason_of


def test_a_client_error_has_a_status_and_a_reason():
    error = ClientError(400, "client sent invalid header line")
    assert (error.status, error.reason, str(error)) == (400, "client sent invalid header line", "client sent invalid header line")


def test_an_upstream_failure_has_a_word_of_proxy_next_upstream():
    failure = UpstreamFailure("error", "connect() failed (111: Connection refused)", "connecting to upstream")
    assert failure.kind in FAILURES
    assert (failure.reason, failure.doing) == ("connect() failed (111: Connection refused)", "connecting to upstream")
    assert str(failure) == failure.reason


def test_a_failure_is_presumed_fresh_and_unsent():
    failure = UpstreamFailure("timeout", "upstream timed out")
    assert (failure.doing, failure.sent, failure.is_dead_idle) == ("", False, False)


@pytest.mark.parametrize("one", [ClientError, ClientGone, TimedOut, UpstreamFailure])
@pytest.mark.parametrize("other", [ClientError, ClientGone, TimedOut, UpstreamFailure])
def test_nobodys_guilt_is_caught_as_somebody_elses(one, other):
    assert one is other or not issubclass(one, other)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "/x"), 'open() "/x" failed (2: No such file or directory)'),
        (OSError(24, "Too many open files"), "(24: Too many open files)"),
        (CannotBegin("no room", is_bug=False), "no room"),
        (KeyError("x"), "KeyError: 'x'"),
        (
            ImportError("cannot import name 'x' from 'worker.y'"),
            "ImportError: cannot import name 'x' from 'worker.y'; if the files of the program have been replaced, "
            '"wproxy upgrade" starts the new one',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_process_that_ends_says_why_in_one_line(error, reason):
    assert reason_of(error) == reason
