"""Flow control, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.http2.errors import FLOW_CONTROL_ERROR, ConnectionFault, StreamFault
from worker.http2.windows import DEFAULT_WINDOW, MAX_WINDOW, ReceiveWindow, SendWindow, SendWindows


def test_the_room_is_the_smaller_of_both_windows():
    windows, stream, other = SendWindows(), SendWindow(), SendWindow()
    assert windows.room(stream) == DEFAULT_WINDOW
    windows.sent(stream, 65000)
    assert (windows.room(stream), windows.room(other)) == (535, 535)
    windows.update_connection(100000)
    assert (windows.room(stream), windows.room(other)) == (535, 65535)
    windows.update_stream(1, stream, 10)
    assert windows.room(stream) == 545


def test_a_lowered_initial_window_makes_windows_negative():
    windows, stream = SendWindows(), SendWindow()
    windows.sent(stream, 65535)
    windows.update_connection(1000000)
    windows.set_initial(10, [stream])
    assert windows.room(stream) == 0
    windows.update_stream(1, stream, 65525)
    assert windows.room(stream) == 0
    windows.update_stream(1, stream, 5)
    assert windows.room(stream) == 5


def test_an_initial_window_of_0_may_be_raised():
    windows, stream = SendWindows(), SendWindow()
    windows.set_initial(0, [stream])
    assert windows.room(stream) == 0
    windows.set_initial(100, [stream])
    assert windows.room(stream) == 100


def test_an_overflow_of_the_connection_is_its_fault():
    windows = SendWindows()
    windows.update_connection(MAX_WINDOW - DEFAULT_WINDOW)
    with pytest.raises(ConnectionFault) as fault:
        windows.update_connection(1)
    assert fault.value.code == FLOW_CONTROL_ERROR


def test_an_overflow_of_a_stream_is_the_fault_of_the_stream():
    windows, stream = SendWindows(), SendWindow()
    windows.update_stream(7, stream, MAX_WINDOW - DEFAULT_WINDOW)
    with pytest.raises(StreamFault) as fault:
        windows.update_stream(7, stream, 1)
    assert (fault.value.stream, fault.value.code) == (7, FLOW_CONTROL_ERROR)


def test_an_initial_window_too_large_for_a_stream_is_a_fault_of_the_connection():
    windows, stream = SendWindows(), SendWindow()
    windows.update_stream(1, stream, 10)
    windows.set_initial(MAX_WINDOW - 10, [stream])
    with pytest.raises(ConnectionFault) as fault:
        windows.set_initial(MAX_WINDOW - 9, [stream])
    assert fault.value.code == FLOW_CONTROL_ERROR
    windows.set_initial(MAX_WINDOW, [])


class Careful:
    """Send windows the plain way: one number for each stream."""

    def __init__(self, streams):
        self.connection, self.initial, self.streams = 65535, 65535, [65535] * streams

    def set_initial(self, value):
        self.streams = [window + value - self.initial for window in self.streams]
        self.initial = value
        return max(self.streams) > MAX_WINDOW


SIZES = st.integers(0, 70000) | st.integers(MAX_WINDOW - 70000, MAX_WINDOW)


@given(st.lists(st.tuples(st.sampled_from(("send", "stream", "initial", "connection")), st.integers(0, 2), SIZES), max_size=40))
@settings(max_examples=200, deadline=None)
def test_windows_agree_with_one_number_for_each_stream(steps):
    windows, streams, oracle = SendWindows(), [SendWindow() for _ in range(3)], Careful(3)
    for step, index, size in steps:
        try:
            if step == "send":
                count = min(size, windows.room(streams[index]))
                windows.sent(streams[index], count)
                oracle.connection -= count
                oracle.streams[index] -= count
            elif step == "stream":
                oracle.streams[index] += size
                windows.update_stream(index, streams[index], size)
                assert oracle.streams[index] <= MAX_WINDOW
            elif step == "initial":
                too_large = oracle.set_initial(size)
                windows.set_initial(size, streams)
                assert not too_large
            else:
                oracle.connection += size
                windows.update_connection(size)
                assert oracle.connection <= MAX_WINDOW
        except (ConnectionFault, StreamFault):
            assert max(oracle.connection, *oracle.streams) > MAX_WINDOW
            return
        for stream, window in zip(streams, oracle.streams, strict=True):
            assert windows.room(stream) == max(0, min(window, oracle.connection))


def test_room_is_given_back_in_halves_of_the_window():
    window = ReceiveWindow(100)
    window.take(60, "client", "stream 1")
    assert window.give_back(49) == 0
    assert window.give_back(11) == 60
    assert window.left == 100
    assert window.give_back(0) == 0


@given(st.lists(st.integers(0, 50)))
def test_bytes_that_are_passed_on_are_taken_and_given_back(counts):
    once, twice = ReceiveWindow(100), ReceiveWindow(100)
    for count in counts:
        twice.take(count, "client", 1)
        assert once.pass_on(count, "client", 1) == twice.give_back(count)
        assert repr(once) == repr(twice)


@pytest.mark.parametrize("take", [ReceiveWindow.take, ReceiveWindow.pass_on])
def test_bytes_beyond_the_window_are_a_fault(take):
    window = ReceiveWindow(100)
    window.take(100, "client", "stream 1")
    with pytest.raises(ConnectionFault) as fault:
        take(window, 1, "client", "stream 1")
    assert fault.value.code == FLOW_CONTROL_ERROR
    assert fault.value.reason == "client violated flow control for stream 1: received 1 bytes too many"


def test_a_peer_that_has_not_seen_our_settings_may_fill_the_default_window():
    window = ReceiveWindow(100, DEFAULT_WINDOW)
    window.take(DEFAULT_WINDOW, "client", "stream 1")
    assert window.left == 0
    assert window.give_back(DEFAULT_WINDOW) == DEFAULT_WINDOW


def test_a_widened_window_is_announced_with_what_is_owed():
    window = ReceiveWindow(100)
    window.take(60, "client", "stream 1")
    window.give_back(20)
    assert window.widen(1000) == 920
    assert window.left == 960
    assert window.widen(10) == 0
    assert window.widen(MAX_WINDOW) + 960 <= MAX_WINDOW
