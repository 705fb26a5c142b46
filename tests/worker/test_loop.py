"""The loop: tasks, park and wake, deadlines by a clock that the test moves, cancel and interrupt."""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress

import pytest
from conversation import has_events

from worker.loop import AT_HOME, READ, WRITE, Event, GoesOn, Loop, park, sleep
from worker.outlet import send_all
from worker.stream import Stream
from wproxy.failures import TimedOut


class Bench:
    """A loop, its clock, and what its tasks noted."""

    def __init__(self, reports: bool = True) -> None:
        self.now = 1000.0
        self.bugs: list[tuple[str, str]] = []
        self.notes: list[object] = []
        self.socks: list[socket.socket] = []
        report = (lambda task, error: self.bugs.append((task.name, repr(error)))) if reports else None
        self.loop = Loop(report, read_clock=lambda: self.now)

    def pair(self) -> tuple[Stream, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        stream = Stream(self.loop, ours)
        self.loop.add(stream)
        self.socks += [ours, theirs]
        return stream, theirs

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.turn(0)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.turn(2)

    def spawn(self, coroutine, name: str = ""):
        task = self.loop.spawn(coroutine, name)
        self.turn()
        return task

    async def read_one(self, stream: Stream, seconds: float = 10.0) -> None:
        """Note what comes, or the exception that comes instead."""
        try:
            while True:
                await park(stream, READ, seconds)
                try:
                    self.notes.append(stream.recv(100))
                    return
                except BlockingIOError:
                    self.notes.append("woken for nothing")
        except (TimedOut, ValueError) as error:
            self.notes.append(repr(error))


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.loop.close()
    for sock in made.socks:
        sock.close()


def test_what_a_task_spawns_is_parked_before_the_events_of_the_next_turn_are_told(bench):
    accepted: list[Stream] = []

    async def accept() -> None:
        stream, theirs = bench.pair()
        theirs.send(b"there before anybody reads")
        accepted.append(stream)
        bench.loop.spawn(bench.read_one(stream), "client")

    bench.spawn(accept(), "listener")
    assert accepted[0].reader is not None and not bench.notes, "it is parked, so that its event will not disarm the stream"
    bench.turn()
    assert bench.notes == [b"there before anybody reads"]


def test_a_stream_is_quiet_until_bytes_or_an_end_come(bench):
    stream, theirs = bench.pair()
    assert (stream.is_quiet(), stream.has_unread()) == (True, False)
    theirs.send(b"x")
    assert (stream.is_quiet(), stream.has_unread()) == (False, True)
    stream.recv(1)
    assert (stream.is_quiet(), stream.has_unread()) == (True, False)
    theirs.close()
    assert (stream.is_quiet(), stream.has_unread()) == (False, False)
    stream.close()
    assert (stream.is_quiet(), stream.has_unread()) == (False, False)


def test_a_closed_stream_is_told_nothing_and_its_descriptor_serves_again(bench):
    stream, theirs = bench.pair()
    fd = stream.fd
    stream.close()
    assert bench.loop.stream_count() == 0
    theirs.close()
    other, far = bench.pair()
    assert fd in (other.fd, far.fileno()), "the system gives out the lowest descriptor"
    bench.loop.spawn(bench.read_one(other), "reader")
    bench.turn()
    far.send(b"y")
    bench.turn(2)
    assert bench.notes == [b"y"]


def test_a_task_runs_when_spawned_and_again_when_its_stream_is_readable(bench):
    stream, theirs = bench.pair()
    task = bench.spawn(bench.read_one(stream))
    assert task.parked
    assert bench.notes == []
    theirs.send(b"hello")
    bench.turn()
    assert bench.notes == [b"hello"]
    assert task not in bench.loop.tasks


def test_a_writer_waits_until_there_is_room_and_interest_in_writing_is_dropped_again(bench):
    stream, theirs = bench.pair()
    data = os.urandom(2_000_000)

    async def write():
        await send_all(stream, data, 10)
        bench.notes.append("sent")

    bench.spawn(write())
    received = b""
    while len(received) < len(data):
        bench.turn()
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            pass
    bench.turn()
    assert received == data
    assert bench.notes == ["sent"]
    bench.turn()
    assert not has_events(bench.loop)


def test_one_task_may_wait_for_reading_and_another_for_writing(bench):
    stream, theirs = bench.pair()
    bench.spawn(bench.read_one(stream))

    async def fill():
        while True:
            try:
                stream.send(b"x" * 65536)
            except BlockingIOError:
                await park(stream, WRITE, 10)
                bench.notes.append("writable")
                return

    bench.spawn(fill())
    theirs.send(b"in")
    bench.turn()
    assert bench.notes == [b"in"]
    while bench.notes == [b"in"]:
        theirs.recv(1 << 20)
        bench.turn()
    assert bench.notes == [b"in", "writable"]


@pytest.mark.parametrize("first", ["bytes", "room"])
def test_parked_on_either_event_whichever_comes_first_wakes_once(bench, first):
    stream, theirs = bench.pair()
    with pytest.raises(BlockingIOError):
        while True:
            stream.send(b"x" * 65536)

    async def wait():
        await park(stream, READ | WRITE, 10)
        bench.notes.append("woken")
        await park(stream, READ, 10)
        bench.notes.append("again")

    bench.spawn(wait())
    if first == "bytes":
        theirs.send(b"a")
        bench.turn()
        assert bench.notes == ["woken"]
        bench.turn()
        assert bench.notes == ["woken", "again"]
    else:
        while not bench.notes:
            theirs.recv(1 << 20)
            bench.turn()
        bench.turn(3)
        assert bench.notes == ["woken"]
        assert not has_events(bench.loop)


def test_a_deadline_raises_timed_out_where_the_task_is_parked(bench):
    stream, _ = bench.pair()
    bench.spawn(bench.read_one(stream, 5))
    bench.advance(4.9)
    assert bench.notes == []
    bench.advance(0.2)
    assert bench.notes == ["TimedOut()"]


def test_deadlines_do_not_ring_early_and_at_most_a_sweep_late(bench):
    streams = [bench.pair()[0] for _ in range(5)]
    for number, stream in enumerate(streams):
        bench.spawn(bench.read_one(stream, 1.0 + number * 0.001))
    for _ in range(99):
        bench.advance(0.01)
    assert bench.notes == []
    for _ in range(5):
        bench.advance(0.01)
    assert bench.notes == ["TimedOut()"] * 5


def test_a_deadline_of_nothing_rings_at_once(bench):
    stream, _ = bench.pair()
    bench.spawn(bench.read_one(stream, 0))
    bench.advance(0.021)
    assert bench.notes == ["TimedOut()"]


def test_a_deadline_already_past_rings_too(bench):
    stream, _ = bench.pair()
    bench.spawn(bench.read_one(stream, -3))
    bench.advance(0.021)
    assert bench.notes == ["TimedOut()"]


def test_an_event_before_the_deadline_wins_and_the_deadline_does_not_ring_later(bench):
    stream, theirs = bench.pair()

    async def wait():
        await bench.read_one(stream, 5)
        await sleep(100)
        bench.notes.append("slept")

    bench.spawn(wait())
    theirs.send(b"x")
    bench.advance(4)
    bench.advance(50)
    assert bench.notes == [b"x"]
    bench.advance(51)
    assert bench.notes == [b"x", "slept"]


def test_bytes_and_deadline_in_one_turn_are_not_both_told(bench):
    stream, theirs = bench.pair()
    bench.spawn(bench.read_one(stream, 5))
    theirs.send(b"just in time")
    bench.advance(6)
    assert bench.notes == [b"just in time"]
    assert bench.bugs == []


def test_sleeping_ends_without_an_exception(bench):
    async def nap():
        await sleep(3)
        bench.notes.append("awake")

    bench.spawn(nap())
    bench.advance(2)
    assert bench.notes == []
    bench.advance(1.1)
    assert bench.notes == ["awake"]


def test_an_infinite_wait_has_no_deadline(bench):
    stream, theirs = bench.pair()
    bench.spawn(bench.read_one(stream, float("inf")))
    bench.advance(1e9)
    assert bench.notes == []
    theirs.send(b"x")
    bench.turn()
    assert bench.notes == [b"x"]


# Interrupt and cancel.


def test_interrupt_raises_in_a_parked_task(bench):
    stream, theirs = bench.pair()
    task = bench.spawn(bench.read_one(stream))
    bench.loop.interrupt(task, ValueError("stop"))
    bench.turn()
    assert bench.notes == ["ValueError('stop')"]
    theirs.send(b"x")
    bench.turn(2)
    assert bench.notes == ["ValueError('stop')"]


def test_of_several_interrupts_the_first_is_raised_and_those_after_a_task_that_has_ended_by_it_concern_nobody(bench):
    stream, _ = bench.pair()
    task = bench.spawn(bench.read_one(stream))
    bench.loop.interrupt(task, ValueError("first"))
    bench.loop.interrupt(task, ValueError("second"))
    bench.turn(3)
    assert bench.notes == ["ValueError('first')"]
    assert bench.bugs == []


def test_of_two_interrupts_none_is_lost_on_a_task_that_goes_on(bench):
    stream, _ = bench.pair()

    async def endure():
        for _ in range(3):
            try:
                await park(stream, READ, 5.0)
            except (ValueError, TimedOut) as error:
                bench.notes.append(repr(error))

    task = bench.spawn(endure())
    bench.loop.interrupt(task, ValueError("first"))
    bench.loop.interrupt(task, ValueError("second"))
    bench.turn(3)
    assert bench.notes == ["ValueError('first')", "ValueError('second')"]
    assert task.parked and stream.reader is task
    bench.advance(6)
    assert bench.notes[2:] == ["TimedOut()"]


# Waits at home, and tasks that go on with another coroutine.


def test_tasks_with_the_same_patience_share_a_wait_and_each_waits_for_its_own_stream(bench):
    pairs = [bench.pair() for _ in range(3)]

    async def read(stream: Stream):
        bench.loop.current().home = stream
        for _ in range(2):
            await AT_HOME[5.0]
            bench.notes.append(stream.recv(100))
        try:
            await AT_HOME[5.0]
        except TimedOut:
            bench.notes.append(f"{pairs.index((stream, theirs_of[stream]))} waited in vain")

    theirs_of = dict(pairs)
    for stream, _ in pairs:
        bench.spawn(read(stream))
    assert AT_HOME[5.0] is AT_HOME[5.0] is not AT_HOME[6.0]
    for sent in (b"a", b"b"):
        for number in (1, 0, 2):
            pairs[number][1].send(sent + b"%d" % number)
            bench.turn()
    bench.advance(4.9)
    assert bench.notes == [b"a1", b"a0", b"a2", b"b1", b"b0", b"b2"]
    bench.advance(0.2)
    assert sorted(bench.notes[6:]) == [f"{number} waited in vain" for number in range(3)]
    assert not bench.loop.tasks


def test_one_may_wait_at_home_after_having_waited_elsewhere_and_for_room(bench):
    home, theirs = bench.pair()
    other, others = bench.pair()

    async def wander():
        bench.loop.current().home = home
        await park(home, WRITE, 5.0)
        bench.notes.append("room")
        await park(other, READ, 5.0)
        bench.notes.append(other.recv(9))
        await AT_HOME[5.0]
        bench.notes.append(home.recv(9))

    task = bench.spawn(wander())
    bench.turn()
    theirs.send(b"home")
    bench.turn(2)  # nobody waits for it: it is disarmed
    others.send(b"other")
    bench.turn(2)
    assert bench.notes == ["room", b"other", b"home"]
    assert not task.parked and home.reader is other.reader is None


def test_there_are_not_more_shared_waits_than_a_configuration_needs():
    kept = [AT_HOME[1e6 + number] for number in range(1000)]
    assert len(AT_HOME) <= 64 and len(set(map(id, kept))) == 1000
    AT_HOME.clear()


def test_a_task_goes_on_with_another_coroutine_before_any_other_task_runs(bench):
    stream, theirs = bench.pair()

    async def first():
        try:
            await park(stream, READ, 5.0)
        finally:
            bench.notes.append("first ends")
        raise GoesOn(second())

    async def second():
        bench.notes.append(("second", bench.loop.current() is task))
        try:
            await park(stream, READ, 5.0)
        except TimedOut:
            bench.notes.append("waited in vain")

    async def other():
        bench.notes.append("other")

    task = bench.spawn(first(), "a task")
    theirs.send(b"x")
    bench.loop.spawn(other())
    bench.loop.wake(task)
    bench.loop.spawn(other())
    bench.turn()
    assert bench.notes == ["other", "first ends", ("second", True), "other"]
    assert task in bench.loop.tasks and task.parked and not bench.bugs
    stream.recv(1)
    bench.advance(6)
    assert bench.notes[4:] == ["waited in vain"]
    assert not bench.loop.tasks


def test_a_task_goes_on_after_what_was_raised_where_it_was_parked_and_can_be_cancelled_then(bench):
    stream, _ = bench.pair()

    async def first():
        try:
            await park(stream, READ, 5.0)
        except TimedOut:
            pass
        raise GoesOn(second())

    async def second():
        try:
            await park(stream, READ, 5.0)
        finally:
            bench.notes.append("closed")

    task = bench.spawn(first())
    bench.advance(6)
    assert task.parked and not bench.notes
    bench.loop.cancel(task)
    assert bench.notes == ["closed"] and not bench.loop.tasks and not bench.bugs


# Wake, and events.


def test_a_task_that_is_woken_goes_on_as_if_what_it_waits_for_had_come(bench):
    stream, _ = bench.pair()

    async def wait():
        await park(stream, READ, 5.0)
        bench.notes.append("awake")

    task = bench.spawn(wait())
    bench.loop.wake(task)
    bench.loop.wake(task)
    bench.turn()
    assert bench.notes == ["awake"]
    assert stream.reader is None and task not in bench.loop.tasks


def test_an_event_lets_all_go_on_that_wait_for_it_and_nobody_waits_afterwards(bench):
    event = Event(bench.loop)

    async def wait(name):
        bench.notes.append((name, await event.wait(5.0)))

    for name in "ab":
        bench.spawn(wait(name))
    event.set()
    bench.turn()
    bench.spawn(wait("c"))
    assert bench.notes == [("a", True), ("b", True), ("c", True)]


def test_an_event_that_does_not_happen_in_time_is_told_as_such(bench):
    event = Event(bench.loop)

    async def wait():
        bench.notes.append(await event.wait(5.0))

    bench.spawn(wait())
    bench.advance(4.9)
    assert bench.notes == []
    bench.advance(0.2)
    assert bench.notes == [False]


@pytest.mark.parametrize("event_first", [True, False])
def test_a_client_that_leaves_in_the_turn_of_an_event_is_not_overheard(bench, event_first):
    event = Event(bench.loop)

    async def wait():
        try:
            await event.wait()
        except ValueError as error:
            bench.notes.append((repr(error), event.is_set))

    task = bench.spawn(wait())
    acts = [event.set, lambda: bench.loop.interrupt(task, ValueError("gone"))]
    for act in acts if event_first else acts[::-1]:
        act()
    bench.turn(2)
    assert bench.notes == [("ValueError('gone')", True)]


# Streams that keep something by, as an encrypted one does.


def test_a_stream_is_readable_as_long_as_it_holds_something_though_its_socket_is_not(bench):
    stream, _ = bench.pair()

    async def wait():
        await park(stream, READ, 5.0)
        bench.notes.append("readable")

    bench.spawn(wait())
    stream.holds = True
    bench.loop.ready(stream)
    bench.loop.ready(stream)
    bench.turn()
    assert bench.notes == ["readable"], "once, for one task that waits"
    bench.spawn(wait())
    bench.turn(2)
    assert bench.notes == ["readable"] * 2, "it was not read"
    stream.holds = False
    bench.spawn(wait())
    bench.turn(3)
    assert bench.notes == ["readable"] * 2


def test_a_stream_that_holds_something_keeps_nobody_busy_and_is_readable_when_somebody_waits_again(bench):
    stream, _ = bench.pair()
    told = []

    def unexpected(stream):
        told.append(stream)
        return False

    stream.unexpected = unexpected
    stream.holds = True
    bench.loop.ready(stream)
    bench.turn(4)
    assert told == [stream], "nobody wanted to know, and so it is told no more"
    assert not bench.loop._ready

    async def wait():
        await park(stream, READ, 5.0)
        bench.notes.append("readable")

    bench.spawn(wait())
    bench.turn(2)
    assert bench.notes == ["readable"]


def test_a_stream_that_was_closed_holds_nothing(bench):
    stream, _ = bench.pair()
    stream.holds = True
    bench.loop.ready(stream)
    stream.close()
    bench.turn()
    assert not bench.loop._ready


def test_what_a_stream_has_put_by_is_flushed_when_its_socket_takes_it_whoever_is_parked(bench):
    stream, theirs = bench.pair()
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    left = bytearray(bytes(300_000))

    def flush():
        try:
            del left[: stream.sock.send(left)]
        except BlockingIOError:
            pass
        return not left

    async def write():
        await park(stream, WRITE, 50.0)
        bench.notes.append(len(left))

    stream.flush = flush
    while not flush() and len(left) > 0:
        before = len(left)
        if not flush() and len(left) == before:
            break
    assert left
    bench.loop.flush_soon(stream)
    bench.spawn(write())
    received = 0
    while left:
        assert bench.notes == [], "the writer waits for what was put by"
        received += len(theirs.recv(65536))
        bench.turn(2)
    bench.turn(2)
    assert bench.notes == [0]
    bench.turn(2)
    assert not stream.armed & select.EPOLLOUT, "nobody wants to write any more"


def test_an_interrupt_of_a_task_that_was_woken_in_the_same_turn_is_raised_where_it_was_parked(bench):
    stream, theirs = bench.pair()
    task = bench.spawn(bench.read_one(stream))
    other, others = bench.pair()

    def on_event(stream):
        bench.loop.interrupt(task, ValueError("no"))
        return False

    other.unexpected = on_event
    theirs.send(b"x")
    others.send(b"y")
    bench.turn()
    assert bench.notes == ["ValueError('no')"]


def test_interrupting_oneself_or_a_task_that_has_ended_does_nothing(bench):
    async def interrupt_self():
        bench.loop.interrupt(bench.loop.current(), ValueError())
        await sleep(0.1)
        bench.notes.append("fine")

    task = bench.spawn(interrupt_self())
    bench.advance(0.2)
    assert bench.notes == ["fine"]
    bench.loop.interrupt(task, ValueError())
    bench.turn()
    assert bench.bugs == []


def test_cancel_closes_a_parked_coroutine_and_runs_its_finally(bench):
    stream, theirs = bench.pair()

    async def wait():
        try:
            await park(stream, READ, 10)
        finally:
            bench.notes.append("finally")

    task = bench.spawn(wait())
    bench.loop.cancel(task)
    assert bench.notes == ["finally"]
    theirs.send(b"x")
    bench.turn(2)
    assert bench.notes == ["finally"]
    assert bench.bugs == []
    bench.loop.cancel(task)


def test_a_task_may_cancel_another_that_is_runnable_in_the_same_turn(bench):
    first, firsts = bench.pair()
    second, seconds = bench.pair()
    victim = None

    async def cancel_when_read():
        await park(first, READ, 10)
        bench.loop.cancel(victim)

    bench.spawn(cancel_when_read(), "killer")
    victim = bench.spawn(bench.read_one(second), "victim")
    firsts.send(b"x")
    seconds.send(b"y")
    bench.turn(2)
    assert bench.notes in ([], [b"y"])  # whichever epoll told first
    assert bench.bugs == []
    assert not bench.loop.tasks


# Events that nobody waits for.


def test_bytes_that_nobody_reads_do_not_turn_the_loop(bench):
    stream, theirs = bench.pair()
    theirs.send(b"hello")
    bench.turn(2)
    assert not has_events(bench.loop)
    bench.spawn(bench.read_one(stream))
    bench.turn()
    assert bench.notes == [b"hello"]


@pytest.mark.parametrize("watches", [False, True])
def test_bytes_and_an_end_that_nobody_reads_do_not_turn_the_loop(bench, watches):
    stream, theirs = bench.pair()
    stream.watches_departure = watches
    theirs.send(b"hello")
    bench.turn(2)
    theirs.shutdown(socket.SHUT_WR)
    bench.turn(3)
    assert not has_events(bench.loop)
    theirs.close()
    bench.turn(3)
    assert not has_events(bench.loop)
    bench.spawn(bench.read_one(stream))
    bench.turn()
    assert bench.notes == [b"hello"]
    bench.spawn(bench.read_one(stream))
    bench.turn()
    assert bench.notes == [b"hello", b""]


def test_a_stream_that_watches_departures_is_told_of_the_end_behind_unread_bytes(bench):
    stream, theirs = bench.pair()
    stream.watches_departure = True
    told = []
    stream.unexpected = lambda stream: bool(told.append("told"))
    theirs.send(b"hello")
    bench.turn(2)
    assert told == ["told"]
    theirs.shutdown(socket.SHUT_WR)
    bench.turn(3)
    assert told == ["told", "told"]
    assert not has_events(bench.loop)


def test_a_stream_may_see_to_the_unexpected_itself(bench):
    stream, theirs = bench.pair()

    def close(stream):
        stream.close()
        return True

    stream.unexpected = close
    theirs.send(b"hello")
    bench.turn()
    assert stream.fd < 0
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    stream.close()


def test_a_reset_wakes_who_reads(bench):
    stream, theirs = bench.pair()
    stream.send(b"unread")

    async def read():
        await park(stream, READ, 10)
        try:
            bench.notes.append(stream.recv(10))
        except ConnectionResetError:
            bench.notes.append("reset")

    bench.spawn(read())
    theirs.close()
    bench.turn()
    assert bench.notes == ["reset"]


def test_a_hang_up_wakes_who_writes_and_who_reads(bench):
    stream, theirs = bench.pair()

    async def wait(event, name):
        await park(stream, event, 10)
        bench.notes.append(name)

    with pytest.raises(BlockingIOError):
        while True:
            stream.send(b"x" * 65536)
    bench.spawn(wait(READ, "reader"))
    bench.spawn(wait(WRITE, "writer"))
    theirs.close()
    bench.turn()
    assert sorted(bench.notes) == ["reader", "writer"]
    bench.turn(2)
    assert not has_events(bench.loop)


def test_after_a_hang_up_that_nobody_heard_parking_is_told_at_once(bench):
    stream, theirs = bench.pair()
    theirs.close()
    bench.turn(3)
    assert not has_events(bench.loop)
    bench.spawn(bench.read_one(stream))
    bench.turn()
    assert bench.notes == [b""]


def test_a_task_woken_for_nothing_parks_again(bench):
    """Two tasks hold the same socket: the first takes what the second was woken for (rule 4)."""
    stream, theirs = bench.pair()
    twin = Stream(bench.loop, stream.sock.dup())
    twin.sock.setblocking(False)
    bench.socks.append(twin.sock)
    bench.loop.add(twin)
    bench.spawn(bench.read_one(stream), "first")
    bench.spawn(bench.read_one(twin), "second")
    theirs.send(b"once")
    bench.turn(2)
    assert sorted(bench.notes, key=str) == sorted([b"once", "woken for nothing"], key=str)
    theirs.send(b"twice")
    bench.turn()
    assert b"twice" in bench.notes
    assert not bench.loop.tasks


def test_a_descriptor_given_out_again_in_the_same_turn_starts_afresh(bench):
    """An event of the closed stream must not reach the new one as more than a wake for nothing."""
    stream, theirs = bench.pair()
    number = stream.fd
    made = []

    async def replace():
        await park(stream, READ, 10)
        stream.close()
        made.append(bench.pair())
        assert made[0][0].fd == number
        await bench.read_one(made[0][0])

    bench.spawn(replace())
    theirs.send(b"for the old one")
    bench.turn(2)
    assert b"for the old one" not in bench.notes
    made[0][1].send(b"for the new one")
    bench.turn()
    assert bench.notes[-1] == b"for the new one"
    assert bench.bugs == []


def test_parking_on_a_closed_stream_waits_for_its_deadline(bench):
    stream, _ = bench.pair()
    stream.close()

    async def wait():
        try:
            await park(stream, READ, 5)
        except TimedOut:
            bench.notes.append("timed out")

    bench.spawn(wait())
    bench.turn()
    assert not has_events(bench.loop)
    bench.advance(6)
    assert bench.notes == ["timed out"]
    assert bench.bugs == []


# Exceptions.


def test_an_exception_ends_its_task_only_and_is_reported(bench):
    stream, theirs = bench.pair()

    async def fail():
        await park(stream, READ, 10)
        raise RuntimeError("a bug")

    other, others = bench.pair()
    bench.spawn(fail(), "unlucky")
    bench.spawn(bench.read_one(other), "lucky")
    theirs.send(b"x")
    others.send(b"y")
    bench.turn()
    assert bench.bugs == [("unlucky", "RuntimeError('a bug')")]
    assert bench.notes == [b"y"]
    assert not bench.loop.tasks


def test_a_deadline_that_nobody_takes_is_reported_like_a_bug(bench):
    async def wait():
        await park(bench.pair()[0], READ, 1)

    bench.spawn(wait(), "careless")
    bench.advance(2)
    assert bench.bugs == [("careless", "TimedOut()")]


def test_without_a_report_the_exception_is_raised():
    bench = Bench(reports=False)

    async def fail():
        raise RuntimeError("a bug")

    bench.loop.spawn(fail())
    with pytest.raises(RuntimeError):
        bench.turn()
    bench.loop.close()


# Without a task.


def test_a_stream_that_listens_is_told_of_what_comes(bench):
    stream, theirs = bench.pair()
    theirs.send(b"unheard")
    bench.turn(2)
    assert not stream.armed & READ, "nobody wanted to know"

    def take(stream: Stream) -> bool:
        bench.notes.append(stream.recv(100))
        return True

    stream.unexpected = take
    bench.loop.listen(stream)
    bench.turn()
    theirs.send(b"and more")
    bench.turn(2)
    assert bench.notes == [b"unheard", b"and more"]
    assert stream.armed & READ


def listener_for_arrivals(bench, most: int = 100) -> tuple[Stream, socket.socket]:
    """A stream whose arrivals are noted, and its other side. most: bytes that are read of each."""
    stream, theirs = bench.pair()

    def take(stream: Stream) -> bool:
        bench.notes.append(stream.recv(most))
        return True

    stream.unexpected = take
    bench.loop.listen_for_arrivals(stream)
    return stream, theirs


def test_each_arrival_is_told_once(bench):
    _, theirs = listener_for_arrivals(bench, most=1)
    for data in (b"ab", b"cd"):
        theirs.send(data)
        bench.turn(3)
    assert bench.notes == [b"a", b"b"], "what is left unread is no arrival"


def test_what_had_come_before_anybody_listened_for_arrivals_is_told(bench):
    stream, theirs = bench.pair()
    theirs.send(b"before")
    bench.turn(2)
    stream.unexpected = lambda stream: bool(bench.notes.append(stream.recv(100))) or True
    bench.loop.listen_for_arrivals(stream)
    bench.turn(2)
    assert bench.notes == [b"before"]


def test_an_end_that_came_with_the_last_bytes_is_told_after_them(bench):
    _, theirs = listener_for_arrivals(bench)
    theirs.send(b"last words")
    theirs.shutdown(socket.SHUT_WR)
    bench.turn()
    assert bench.notes == [b"last words"]
    bench.turn()
    assert bench.notes == [b"last words", b""]


def test_a_task_that_parks_where_arrivals_were_told_is_woken_for_what_is_unread(bench):
    stream, theirs = listener_for_arrivals(bench, most=1)
    theirs.send(b"ab")
    bench.turn(2)
    stream.unexpected = None

    async def wait() -> None:
        for _ in range(2):
            await park(stream, READ, 5.0)
            bench.notes.append("readable")

    bench.spawn(wait())
    bench.turn(4)
    assert bench.notes == [b"a", "readable", "readable"], "it has read nothing, and is told so again"


def test_who_listens_where_arrivals_were_told_is_told_of_what_is_unread(bench):
    stream, theirs = listener_for_arrivals(bench, most=1)
    theirs.send(b"abc")
    bench.turn(2)
    bench.loop.listen(stream)
    bench.turn(2)
    assert bench.notes == [b"a", b"b", b"c"]


@pytest.mark.parametrize("parked_first", [True, False])
def test_a_writer_does_not_hide_arrivals_from_who_listens_for_them(bench, parked_first):
    stream, theirs = bench.pair()
    with suppress(BlockingIOError):
        while True:
            stream.send(bytes(65536))

    def take(stream: Stream) -> bool:
        bench.notes.append(stream.recv(100))
        return True

    async def write() -> None:
        await park(stream, WRITE, 10)
        bench.notes.append("room")

    stream.unexpected = take
    if not parked_first:
        bench.loop.listen_for_arrivals(stream)
    bench.spawn(write())
    bench.turn()
    if parked_first:
        bench.loop.listen_for_arrivals(stream)
    for number in range(2):
        theirs.send(b"%d" % number)
        bench.turn(2)
    assert bench.notes == [b"0", b"1"]
    theirs.setblocking(False)
    with suppress(BlockingIOError):
        while theirs.recv(1 << 20):
            pass
    bench.turn(2)
    theirs.send(b"2")
    bench.turn(2)
    assert bench.notes == [b"0", b"1", "room", b"2"]


def test_room_for_what_is_written_does_not_hide_what_has_come(bench):
    """As in a tunnel whose client takes much and says a little."""
    stream, theirs = bench.pair()

    def take(stream: Stream) -> bool:
        bench.notes.append(stream.recv(100))
        return True

    async def write() -> None:
        for _ in range(3):
            await park(stream, WRITE, 10)
            bench.notes.append("room")

    stream.unexpected = take
    task = bench.spawn(write())
    for number in range(3):
        theirs.send(b"%d" % number)
        bench.turn()
    assert bench.notes == [b"0", "room", b"1", "room", b"2", "room"]
    assert task not in bench.loop.tasks


# Many.


def test_thousands_of_sleepers_wake_in_time(bench):
    async def nap(seconds):
        await sleep(seconds)
        bench.notes.append(seconds)

    for number in range(5000):
        bench.loop.spawn(nap(1 + number % 50))
    bench.turn()
    assert len(bench.loop.tasks) == 5000
    for second in range(1, 51):
        bench.advance(1)
        assert len(bench.notes) == second * 100
    assert not bench.loop.tasks
    bench.turn()
    assert not has_events(bench.loop)


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_streams_are_all_served_in_one_turn(bench):
    pairs = [bench.pair() for _ in range(1000)]
    for stream, _ in pairs:
        bench.loop.spawn(bench.read_one(stream))
    bench.turn()
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
    bench.turn()
    assert sorted(map(int, bench.notes)) == list(range(1000))
    for stream, theirs in pairs:
        stream.close()
        theirs.close()


def test_run_turns_until_stopped(bench):
    async def stop():
        await sleep(0)
        bench.loop.stop()

    bench.loop.spawn(stop())
    clock = iter(range(10**6))
    bench.loop._read_clock = lambda: 2000.0 + next(clock)
    bench.loop.run()
    assert not bench.loop.tasks


def test_closing_ends_all_tasks():
    bench = Bench()
    ended = []

    async def wait():
        try:
            await sleep(100)
        finally:
            ended.append(True)

    for _ in range(3):
        bench.loop.spawn(wait())
    bench.turn()
    bench.loop.close()
    assert ended == [True] * 3


def test_wall_time_is_set_and_the_date_line_follows(bench):
    first = bench.loop.clock.wall
    bench.advance(2)
    assert bench.loop.clock.date_line.startswith(b"Date: ")
    assert abs(bench.loop.clock.wall - first) < 10
