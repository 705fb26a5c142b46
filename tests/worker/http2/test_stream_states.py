"""The states of streams: each frame in each state, from both ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.http2.errors import PROTOCOL_ERROR, STREAM_CLOSED, ConnectionFault
from worker.http2.streams import (
    DROP,
    HEAD,
    MAX_STREAM,
    OPEN,
    REFUSE,
    TRAILERS,
    ClientStreams,
    ResponseStream,
    ServerStreams,
    Stream,
)

Streams = ServerStreams[Stream]


def opened(streams: Streams, number: int) -> Stream:
    assert streams.headers(number) == OPEN
    stream = Stream(number)
    streams.open(stream)
    return stream


def idle(streams: Streams) -> None:
    """Nothing was sent yet on stream 1."""


def open_(streams: Streams) -> None:
    opened(streams, 1)


def half_closed_remote(streams: Streams) -> None:
    streams.ended_by_peer(opened(streams, 1))


def half_closed_local(streams: Streams) -> None:
    streams.ended_by_us(opened(streams, 1))


def closed_by_both(streams: Streams) -> None:
    half_closed_remote(streams)
    streams.ended_by_us(streams.live[1])


def closed_by_both_client_last(streams: Streams) -> None:
    half_closed_local(streams)
    streams.ended_by_peer(streams.live[1])


def reset_by_client(streams: Streams) -> None:
    opened(streams, 1)
    streams.reset_by_peer(1)


def reset_by_us(streams: Streams) -> None:
    streams.reset_by_us(opened(streams, 1))


def answered_early(streams: Streams) -> None:
    half_closed_local(streams)
    streams.reset_by_us(streams.live[1])


def refused(streams: Streams) -> None:
    streams.busy = streams.limit
    assert streams.headers(1) == REFUSE


def skipped(streams: Streams) -> None:
    opened(streams, 7)


def after_goaway(streams: Streams) -> None:
    streams.leave()
    assert streams.headers(1) == DROP


# For HEADERS the verdict; for the others whether they find a stream; or the code of the fault.
STATES = [
    (idle, OPEN, "PROTO", "PROTO", "PROTO"),
    (open_, TRAILERS, True, True, True),
    (half_closed_remote, "CLOSED", "CLOSED", True, True),
    (half_closed_local, TRAILERS, True, True, True),
    (closed_by_both, "CLOSED", "CLOSED", False, False),
    (closed_by_both_client_last, "CLOSED", "CLOSED", False, False),
    (reset_by_client, "CLOSED", "CLOSED", False, False),
    (reset_by_us, DROP, False, False, False),
    (answered_early, DROP, False, False, False),
    (refused, DROP, False, False, False),
    (skipped, "PROTO", False, False, False),
    (after_goaway, DROP, False, False, False),
]
CODES = {"PROTO": PROTOCOL_ERROR, "CLOSED": STREAM_CLOSED}


@pytest.mark.parametrize(("state", "headers", "data", "update", "reset"), STATES, ids=[row[0].__name__ for row in STATES])
def test_each_frame_in_each_state(state, headers, data, update, reset):
    for expected, frame in ((headers, "headers"), (data, "data"), (update, "window_update"), (reset, "reset_by_peer")):
        streams: Streams = ServerStreams(128)
        state(streams)
        if isinstance(expected, str):
            with pytest.raises(ConnectionFault) as fault:
                getattr(streams, frame)(1)
            assert fault.value.code == CODES[expected]
            assert fault.value.reason.startswith("client sent ")
        elif frame == "headers":
            assert streams.headers(1) == expected
        else:
            assert (getattr(streams, frame)(1) is not None) is expected


@pytest.mark.parametrize("frame", ["headers", "data", "window_update", "reset_by_peer"])
def test_even_numbers_are_never_used_by_a_client(frame):
    for last in (0, 1, 9):
        streams: Streams = ServerStreams(128)
        streams.last = last
        for number in (2, 4, 10):
            with pytest.raises(ConnectionFault) as fault:
                getattr(streams, frame)(number)
            assert fault.value.code == PROTOCOL_ERROR


def test_a_lower_number_that_was_never_used_is_a_fault_and_a_used_one_is_not():
    streams: Streams = ServerStreams(128)
    streams.reset_by_us(opened(streams, 5))
    streams.reset_by_us(opened(streams, 7))
    streams.reset_by_us(opened(streams, 11))
    assert [streams.headers(number) for number in (5, 7, 11)] == [DROP] * 3
    for number in (1, 3, 9):
        with pytest.raises(ConnectionFault) as fault:
            streams.headers(number)
        assert fault.value.code == PROTOCOL_ERROR


def test_streams_that_ended_long_ago_are_forgotten():
    streams: Streams = ServerStreams(128)
    for number in range(1, 2001, 2):
        stream = opened(streams, number)
        streams.ended_by_peer(stream)
        streams.ended_by_us(stream)
        streams.release()
    assert 256 <= len(streams._ended) < 512
    for number in (1999, 1999 - 2 * 255):
        with pytest.raises(ConnectionFault):
            streams.data(number)
    assert streams.data(1) is None
    for number in range(2001, 9001, 10):
        streams.reset_by_us(opened(streams, number))
        streams.release()
    assert len(streams._skipped) == 256


def test_a_reset_request_keeps_its_place_until_it_is_released():
    streams: Streams = ServerStreams(2)
    opened(streams, 1)
    opened(streams, 3)
    streams.reset_by_peer(1)
    assert streams.headers(5) == REFUSE
    streams.release()
    assert streams.headers(7) == OPEN
    assert streams.headers(5) == DROP


def test_leaving_takes_two_steps_and_never_promises_more():
    streams: Streams = ServerStreams(128)
    opened(streams, 1)
    assert streams.begin_to_leave() == MAX_STREAM
    opened(streams, 3)
    assert streams.leave() == 3
    assert streams.headers(5) == DROP
    assert streams.data(5) is None
    assert streams.headers(3) == TRAILERS
    assert (streams.leave(), streams.begin_to_leave()) == (3, 3)


def test_the_last_number_is_served_and_there_are_no_more():
    streams: Streams = ServerStreams(128)
    assert not streams.is_used_up
    opened(streams, MAX_STREAM)
    assert streams.is_used_up


def test_the_state_of_a_stream_is_told():
    streams: Streams = ServerStreams(128)
    stream = opened(streams, 1)
    seen = [repr(stream)]
    streams.ended_by_peer(stream)
    seen.append(repr(stream))
    streams.ended_by_us(stream)
    assert [*seen, repr(stream)] == ["<stream 1: open>", "<stream 1: half-closed (remote)>", "<stream 1: closed>"]
    assert repr(streams) == "<streams of a client: 0 live, 1 busy, last 1>"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("headers", "data", "window_update", "reset_by_peer", "end", "we_end", "we_reset", "release", "leave")),
        st.integers(0, 9) | st.just(MAX_STREAM),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_any_sequence_is_served_or_a_fault(steps):
    streams: Streams = ServerStreams(3)
    for step, number in steps:
        stream = streams.live.get(number)
        try:
            if step == "headers":
                if streams.headers(number) == OPEN:
                    streams.open(Stream(number))
            elif step in ("data", "window_update", "reset_by_peer"):
                getattr(streams, step)(number)
            elif step == "end" and stream and stream.receives:
                streams.ended_by_peer(stream)
            elif step == "we_end" and stream and stream.sends:
                streams.ended_by_us(stream)
            elif step == "we_reset" and stream:
                streams.reset_by_us(stream)
            elif step == "release" and streams.busy:
                streams.release()
            elif step == "leave":
                streams.leave()
        except ConnectionFault as fault:
            assert fault.code in (PROTOCOL_ERROR, STREAM_CLOSED)
        assert all(stream.receives or stream.sends for stream in streams.live.values())
        assert max(streams.live, default=0) <= streams.last
        assert streams.busy <= 3


# The other end: our streams to an upstream.

Ours = ClientStreams[ResponseStream]


def begun(streams: Ours, has_head: bool = False) -> ResponseStream:
    stream = ResponseStream(streams.next)
    streams.open(stream)
    stream.has_head = has_head
    return stream


def test_heads_come_before_bodies_and_trailers_after():
    streams: Ours = ClientStreams()
    stream = begun(streams)
    assert streams.headers(1) == HEAD
    with pytest.raises(ConnectionFault) as fault:
        streams.data(1)
    assert (fault.value.code, fault.value.reason) == (
        PROTOCOL_ERROR,
        "upstream sent DATA frame before HEADERS for stream 1",
    )
    stream.has_head = True
    assert streams.data(1) is stream
    assert streams.headers(1) == TRAILERS


@pytest.mark.parametrize("frame", ["headers", "data", "window_update", "reset_by_peer"])
@pytest.mark.parametrize("number", [2, 3, 0, 101])
def test_a_frame_on_a_stream_that_we_have_not_begun_is_a_fault(frame, number):
    streams: Ours = ClientStreams()
    begun(streams)
    with pytest.raises(ConnectionFault) as fault:
        getattr(streams, frame)(number)
    assert fault.value.code == PROTOCOL_ERROR


def test_frames_after_the_end_are_a_fault_and_after_our_reset_are_dropped():
    streams: Ours = ClientStreams()
    first, second = begun(streams, True), begun(streams, True)
    streams.ended_by_peer(first)
    for frame in (streams.data, streams.headers):
        with pytest.raises(ConnectionFault) as fault:
            frame(1)
        assert fault.value.code == STREAM_CLOSED
    assert streams.window_update(1) is first
    streams.reset_by_us(second)
    assert streams.data(3) is None
    assert streams.headers(3) == DROP
    assert streams.window_update(3) is None
    assert streams.reset_by_peer(3) is None
    assert streams.reset_by_peer(1) is first
    assert not streams.live


def test_a_stream_ends_when_both_sides_have_ended_it():
    streams: Ours = ClientStreams()
    for one, two in ((streams.ended_by_us, streams.ended_by_peer), (streams.ended_by_peer, streams.ended_by_us)):
        stream = begun(streams)
        one(stream)
        assert streams.live
        two(stream)
        assert not streams.live


def test_a_goaway_returns_the_streams_that_were_not_begun():
    streams: Ours = ClientStreams()
    first, second, third = begun(streams), begun(streams), begun(streams)
    assert streams.may_open(100)
    assert streams.goaway(3) == [third]
    assert not streams.may_open(100)
    assert list(streams.live.values()) == [first, second]
    assert streams.goaway(MAX_STREAM) == []
    assert streams.goaway(0) == [first, second]


def test_no_more_streams_are_begun_than_the_upstream_allows():
    streams: Ours = ClientStreams()
    assert not streams.may_open(0)
    begun(streams)
    assert not streams.may_open(1)
    assert streams.may_open(2)
    streams.next = MAX_STREAM + 2
    assert not streams.may_open(2)
