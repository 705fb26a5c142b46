"""The request's direction of an exchange: a task of its own if there is more than the head and the body at hand.

An exchange has two independent directions, and each has its own end. While this task sends, the task of the client's connection
waits for the answer and passes it on, whichever comes first. The connections between the two:

- Before the head of the answer has come, a failure of sending is the failure of the attempt.
- After it, an upstream may stop reading the request; its answer is passed on to the end.
- An answer that is complete ends the sending (`LiveAttempt.end_upload`), and so does the end of the client's connection.
- A client that leaves or breaks the rules in the middle of its body ends both.
"""

from __future__ import annotations

from typing import Final

from worker.loop import Task
from worker.upstream.failing import SENDING, failure_of
from worker.upstream.failure_log import log_failure
from worker.upstream.passing import LiveAttempt, PeerConnection
from worker.upstream.sending import sending_failed
from wproxy.failures import TimedOut, UpstreamFailure

# No time limit for the head of an answer while the request is still being sent: sending has its own timers.
NEVER: Final = float("inf")


def begin_upload(attempt: LiveAttempt, connection: PeerConnection) -> None:
    """Start a task that sends the rest of the request."""
    loop = connection.stream.loop
    connection.stream.send_without_delay()
    attempt.upload = loop.spawn(upload(attempt, connection, loop.current()), f"upload to {attempt.peer}")


async def upload(attempt: LiveAttempt, connection: PeerConnection, receiver: Task) -> None:
    """Send the rest of a request. receiver: the task that waits for the answer; it gets any failure."""
    loop = connection.stream.loop
    body = attempt.outgoing.rest
    failure: Exception | None = None
    if body is not None:
        body.is_passed_on = True
    try:
        await connection.finish(attempt)
    except TimedOut:
        failure = failure_of("timeout", "upstream timed out (110: Connection timed out)", SENDING)
    except OSError as error:
        connection.room = 0
        if connection.stream.has_departed():
            failure = sending_failed(error)  # otherwise it takes no more, but has answered first
    except Exception as error:
        failure = error
    finally:
        if body is not None:
            body.is_passed_on = False
    attempt.upload = None
    attempt.sent_at = loop.clock.now
    if failure is not None:
        connection.room = 0
        if attempt.status == 101 and isinstance(failure, UpstreamFailure):
            log_failure(attempt.passing, attempt.request, failure)  # nothing can follow half a body
            loop.interrupt(receiver, failure)
        elif attempt.head is None or not isinstance(failure, UpstreamFailure):
            loop.interrupt(receiver, failure)
    elif attempt.status == 101:
        loop.wake(receiver)  # the tunnel goes on where the body ends
    elif attempt.head is None:
        loop.hasten(receiver, attempt.sent_at + attempt.passing.read_timeout)
    failure = None  # its traceback has this frame: with it, all that the request had would wait for the collector
