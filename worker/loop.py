"""The loop: coroutines parked on streams, woken by epoll or by a deadline.

Theory of operation. Every connection is one coroutine, a task. All it can ask of the loop is to be parked: on a stream and a
direction, for so many seconds; `park` holds the `yield` by which it does.

Rule 1. A descriptor is registered once and stays registered until it is closed; events are level-triggered. An event
without a waiting task disarms that direction until a task parks on it: in steady state there is no epoll_ctl at all. Only who
reads all that arrives without a task, message by message, may ask to be told of arrivals (`Loop.listen_for_arrivals`): then the
kernel need not look at the socket again to find that it is empty.

Rule 2. A turn has two passes: first every event is dispatched (tasks become runnable, streams without a reader are told
that something unexpected came), then the tasks run. So a pooled upstream connection that was closed by its peer is
out of the pool before any request of the same turn can take it.

Rule 3. Deadlines are stored on tasks and swept, not kept in a heap: a request that ends in time costs one comparison. The sweep
runs when the nearest deadline known may have passed, at most every 20 ms.

Rule 4. A task may be woken for nothing (an event for a descriptor that was closed and given out again within one turn). So
a task that parks tries its system call and parks again when refused.

`selectors` chooses and owns the epoll instance; registration and waiting bypass its table of keys, which costs 2 us per
connection and 0.5 us per event, and each request has two events.
"""

from __future__ import annotations

import os
import select
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from time import monotonic, time
from typing import Any, Final

from worker.parking import repeated_wait, wait_for_turn
from wproxy.failures import TimedOut
from wproxy.http import Clock
from wproxy.native import mypyc_attr

READ: Final = 1
WRITE: Final = 2

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_RDHUP: Final = select.EPOLLRDHUP
_EDGE: Final = select.EPOLLET
_FATAL: Final = select.EPOLLERR | select.EPOLLHUP
_NOT_OUT: Final = ~_OUT
_NOT_IN: Final = ~(_IN | _RDHUP)
_NOT_READY: Final = ~(_IN | _OUT)
# Of what is armed, what stays when something is added: so everybody who adds makes the stream level-triggered.
_LEVEL: Final = ~(_RDHUP | _EDGE)

# With the end of the stream, which may come with the last bytes and is no arrival of its own then, and with urgent bytes (TCP's
# URG): a read stops before one, whatever has come behind it.
_ARRIVALS: Final = _IN | _RDHUP | select.EPOLLPRI | _EDGE
_IN_OR_EDGE: Final = _IN | _EDGE

# The event of a unix socket, or of one whose both sides have ended.
_IN_AND_END: Final = select.EPOLLIN | select.EPOLLHUP

_MASKS: Final = (0, _IN, _OUT, _IN | _OUT)
_MASKS_OR_EDGE: Final = (_EDGE, _IN | _EDGE, _OUT | _EDGE, _IN | _OUT | _EDGE)
_FAR: Final = float("inf")
_SWEEP_PAUSE: Final = 0.02


@mypyc_attr(allow_interpreted_subclasses=True)
class Waitable:
    """A descriptor that tasks can park on: everything that the loop has to know of a stream, which sets it all when it is made.

    fd: -1 when it is closed. reader, writer: the tasks that wait for it. armed: the events that epoll reports.
    unexpected: called for an event that no task waits for; returns True when it has handled it. (See `Loop.listen`.)
    watches_departure: whether the end of the stream is reported even while bytes are unread.
    holds: whether there are bytes to read that have left the socket, so that epoll does not report them. (See `Loop.ready`.)
    flush: sends bytes that were put aside, whatever task is parked; returns whether a writer may continue. None: there are none.
    It keeps its failures to itself until a task sends. (See `Loop.flush_soon`.)
    """

    __slots__ = ("armed", "fd", "flush", "holds", "reader", "unexpected", "watches_departure", "writer")

    fd: int
    reader: Task | None
    writer: Task | None
    armed: int
    unexpected: Callable[[Any], bool] | None
    watches_departure: bool
    holds: bool
    flush: Callable[[], bool] | None


# Wait until the stream is ready for READ, WRITE or either, at most so many seconds; then TimedOut is raised.
# stream None: only let time pass, and then raise nothing.
park: Final[Callable[[Waitable | None, int, float], Awaitable[None]]] = wait_for_turn
# Return what does the same each time it is awaited: for a task that comes back to one place.
park_here: Final[Callable[[Waitable | None, int, float], Awaitable[None]]] = repeated_wait


class Waits(dict[float, Awaitable[None]]):
    """Awaitables by seconds: each waits so long for READ on the `home` of the task that awaits it, and serves all tasks."""

    __slots__ = ()

    def __missing__(self, seconds: float) -> Awaitable[None]:
        if len(self) >= _MOST_WAITS:
            self.clear()
        wait = self[seconds] = repeated_wait(None, READ, seconds)
        return wait


# The configuration has a few times for this.
_MOST_WAITS: Final = 64
AT_HOME: Final = Waits()

# The arguments of `park`: what a task waits for.
Parking = tuple[Waitable | None, int, float]
_next: Final[Callable[[Iterator[Parking], Any], Parking]] = next
# In place of it, when a task has ended. (Any: as a tuple it would be made anew for each step, compiled.)
_END: Final[Any] = (None, -1, 0.0)


@mypyc_attr(native_class=False)
class GoesOn(Exception):
    """The coroutine that raises this is over, and its task goes on with the one it names: nothing is kept of the first."""


class Task:
    """A coroutine and where it is parked. kind, number: its name, which is put together where it is needed.

    home: the stream that `AT_HOME` is about, set before that is used.
    """

    __slots__ = ("deadline", "home", "kind", "number", "parked", "pending", "steps", "stream")

    home: Waitable

    def __init__(self, coroutine: Coroutine[Any, Any, None], kind: str, number: int = 0) -> None:
        # Its steps, each to the next place where it parks. (A `send` would end with an exception: 3,600 instructions, compiled.)
        self.steps: Generator[Parking, Any, None] = coroutine.__await__()
        self.kind = kind
        self.number = number
        self.stream: Waitable | None = None
        self.deadline = _FAR
        self.parked = False
        self.pending: list[BaseException] | None = None  # to be raised where it is parked, one at each place

    @property
    def name(self) -> str:
        """Return `client *7`, or the kind alone for a task of which there is one. The number follows a star that the kind has."""
        if not self.number:
            return self.kind
        return self.kind.replace("*", f"*{self.number}", 1) if "*" in self.kind else f"{self.kind} *{self.number}"

    def __repr__(self) -> str:
        return f"<task {self.name} {f'parked on {self.stream}' if self.parked else 'runnable'}>"


def _no_steps() -> Generator[Parking, Any, None]:
    """Return the steps of a task that has been cancelled."""
    yield from ()


@mypyc_attr(allow_interpreted_subclasses=True)
class Loop:
    """The loop of one worker. `clock.now` is read once per turn."""

    def __init__(
        self,
        report: Callable[[Task, BaseException], None] | None = None,
        read_clock: Callable[[], float] = monotonic,
    ) -> None:
        """report: gets the exception that ended a task; None: it is raised. read_clock: returns seconds that only grow."""
        now = read_clock()
        self.clock = Clock(now, time() - now)
        self._read_clock = read_clock
        self.tasks: set[Task] = set()
        self.running = False
        self.turns = 0
        self._report = report
        self._selector = selectors.EpollSelector()
        # The same epoll instance under a second descriptor: waits and changes of interest bypass `selectors`.
        self._epoll = select.epoll.fromfd(os.dup(self._selector.fileno()))
        self._streams: dict[int, Waitable] = {}
        # Returns the number of registered streams. (Like `leave` the dictionary's own method: each new connection calls both.)
        self.stream_count: Callable[[], int] = self._streams.__len__
        # Removes the stream of a descriptor that is closed next, and so leaves the epoll set, as no other process has it open.
        self.leave: Callable[[int, None], Waitable | None] = self._streams.pop
        self._runnable: list[Task] = []
        self._ready: list[Waitable] = []
        self._running = self._runnable  # the list of this turn while there is one; tasks added to it run in the same turn
        self._next_alarm = _FAR
        self._last_sweep = 0.0
        self._current: Task | None = None
        self._next_wall_check = 0.0
        # Called before a connection is opened: returns the reason why there is no room for it, "" when there is (`worker.room`).
        # With no more than `roomy` streams there is, and whoever is in a hurry need not ask.
        self.lacks_room: Callable[[], str] = lambda: ""
        self.roomy = 0
        # Whether there is so much of it that connections may stay open which are only perhaps of use.
        self.has_plenty: Callable[[], bool] = lambda: True

    # Tasks.

    def spawn(self, coroutine: Coroutine[Any, Any, None], kind: str = "", number: int = 0) -> Task:
        """Start a task; it runs for the first time in this or the next turn."""
        task = Task(coroutine, kind, number)
        self.tasks.add(task)
        # A client's task should be parked when the events of the next turn are reported: a first request that finds no task costs
        # two epoll_ctl, one to disarm and one to arm.
        self._running.append(task)
        return task

    def current(self) -> Task:
        """Return the running task."""
        assert self._current is not None
        return self._current

    def interrupt(self, task: Task, exception: BaseException) -> None:
        """Raise this in the task, where it is parked, when its turn comes.

        None of several is lost: if the task continues after the first, the next is raised where it parks then.
        """
        if task not in self.tasks or task is self._current:
            return
        if task.pending is None:
            task.pending = [exception]
        else:
            task.pending.append(exception)
        self.wake(task)

    def wake(self, task: Task) -> None:
        """Resume a parked task in this turn or the next, as if its event had come."""
        if task.parked:
            self._unpark(task)
            self._runnable.append(task)

    def cancel(self, task: Task) -> None:
        """End a parked task at once, as if its coroutine had been closed where it waits."""
        if task in self.tasks:
            if task.parked:
                self._unpark(task)
            self.tasks.discard(task)
            task.pending = None
            steps, task.steps = task.steps, _no_steps()  # it may be among the runnable of this turn
            steps.close()

    def hasten(self, task: Task, deadline: float) -> None:
        """Make this the deadline of a parked task, if it is earlier."""
        if task.parked and deadline < task.deadline:
            task.deadline = deadline
            if deadline < self._next_alarm:
                self._next_alarm = deadline

    # Streams.

    def add(self, stream: Waitable, events: int = READ) -> None:
        """Register a stream's descriptor, interested in these events."""
        stream.armed = mask = _MASKS[events]
        self._epoll.register(stream.fd, mask)
        self._streams[stream.fd] = stream

    def add_bell(self, stream: Waitable) -> None:
        """Register a descriptor that several processes listen to and none reads: each write is one event for each of them."""
        self.add(stream)
        self._arm(stream, _IN | select.EPOLLET)

    def remove(self, stream: Waitable) -> None:
        """Remove a stream that stays open. Tasks parked on it stay parked until their deadline."""
        if self._streams.pop(stream.fd, None) is not None:
            try:
                self._epoll.unregister(stream.fd)
            except OSError:
                pass  # EPOLLERR or EPOLLHUP took it out of the epoll set before

    def replace(self, stream: Waitable, other: Waitable) -> None:
        """Put another stream in the place of one with the same descriptor, on which no task is parked.

        The first one must not be used any more.
        """
        assert stream.reader is stream.writer is None and stream.fd == other.fd
        other.armed = stream.armed
        self._streams[other.fd] = other
        stream.fd = -1

    def listen(self, stream: Waitable) -> None:
        """Have the stream's `unexpected` called for events, without a task parked on it."""
        if stream.armed & _IN_OR_EDGE != _IN:
            self._arm(stream, (stream.armed & _LEVEL) | _IN)

    def listen_for_arrivals(self, stream: Waitable) -> None:
        """Have `unexpected` called once for each arrival, and now if there are bytes: it has to read all of them.

        A read that returns less than was asked for has read all. Everything else makes the stream level-triggered again: an
        event that is not plain readability, and whoever waits for the stream.
        """
        if stream.writer is None:
            self._arm(stream, _ARRIVALS)
        else:
            self._arm(stream, (stream.armed & _LEVEL) | _IN)

    def ready(self, stream: Waitable) -> None:
        """Treat a stream as readable from the next turn on, as long as it `holds` something, regardless of epoll.

        As with epoll this is reported every turn to the task that waits for it, and not at all without one.
        """
        if stream not in self._ready:
            self._ready.append(stream)

    def _events_of_ready(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return events for the streams that hold something, in addition to those that epoll has reported."""
        ready = [stream for stream in self._ready if stream.holds and stream.armed & _IN]
        self._ready = [stream for stream in ready if stream.fd >= 0]
        for stream in ready:
            if stream.fd < 0:
                self.tell(stream)
        told = {fd for fd, mask in events if mask & _IN}
        return [(stream.fd, _IN) for stream in self._ready if stream.fd not in told and stream.fd >= 0]

    def tell(self, channel: Waitable) -> None:
        """Report that there is something to read on a channel, which has no descriptor (worker.channel).

        A task that waits for it runs in this turn. If there is none, `unexpected` is called, now and in every further turn while
        the channel `holds` something. Nothing is lost when there is neither: whoever parks or listens later is told then.
        """
        if not channel.armed & _IN:
            return
        task = channel.reader
        if task is not None:
            # `wake`, inlined: each answer over HTTP/2 is told so.
            channel.reader = None
            if channel.writer is task:
                channel.writer = None
            task.parked = False
            self._runnable.append(task)
        elif channel.unexpected is not None and channel.unexpected(channel):
            if channel.holds:
                self.ready(channel)
            return
        channel.armed &= ~_IN

    def flush_soon(self, stream: Waitable) -> None:
        """Have the stream's `flush` called as soon as its socket takes bytes."""
        if not stream.armed & _OUT:
            self._arm(stream, (stream.armed & _LEVEL) | _OUT)

    # The loop.

    def run(self) -> None:
        """Turn until `stop` is called."""
        self.running = True
        while self.running:
            self.turn()

    def stop(self) -> None:
        """Return from `run` after this turn."""
        self.running = False

    def close(self) -> None:
        """End all tasks and close the epoll descriptors."""
        for task in list(self.tasks):
            self.cancel(task)
        self._epoll.close()
        self._selector.close()

    def turn(self, longest: float = 3600.0) -> bool:
        """Wait for events, at most that many seconds, dispatch them, run the tasks that became runnable.

        Returns whether there was anything to do.
        """
        clock = self.clock
        if self._runnable or self._ready:
            timeout = 0.0
        else:
            timeout = self._next_alarm - clock.now
            if timeout > longest:
                timeout = longest
            elif timeout < 0.0:
                timeout = 0.0
        events = self._epoll.poll(timeout, 1024)
        if self._ready:
            events += self._events_of_ready(events)
        read_clock = self._read_clock
        clock.now = now = read_clock()
        self.turns += 1
        streams = self._streams
        runnable = self._runnable
        for fd, mask in events:
            try:
                stream = streams[fd]
            except KeyError:
                continue
            if mask == _IN:
                task = stream.reader
                if task is not None:
                    stream.reader = None
                    if stream.writer is task:
                        stream.writer = None
                    task.parked = False
                    runnable.append(task)
                else:
                    # `_unexpected`, inlined: this is the path of messages through a tunnel.
                    unexpected = stream.unexpected
                    if unexpected is None or not unexpected(stream):
                        self._decline(stream, mask)
            elif mask == _IN_AND_END and stream.reader is not None and stream.writer is None:
                # `_tell`, inlined: an answer, and its upstream has closed.
                task = stream.reader
                stream.reader = None
                task.parked = False
                runnable.append(task)
            else:
                self._tell(stream, mask)
        if now >= self._next_alarm:
            self._ring_alarms(now)
        if now >= self._next_wall_check:
            # At the next whole second, or when the system's clock has been set.
            wall = time()
            clock.set_wall(wall)
            self._next_wall_check = now + 1.0 - wall % 1.0
        if runnable:
            self._runnable = []
            try:
                self._run(runnable, now)
            finally:
                self._running = self._runnable
                self._current = None
            return True
        return bool(events)

    def _run(self, runnable: list[Task], now: float) -> None:
        """Run each task until it parks again or ends. (One call for all: a call for each would cost 0.1 us each.)"""
        stream: Waitable | None
        events: int
        seconds: float
        for task in runnable:
            self._current = task
            try:
                if task.pending is None:
                    stream, events, seconds = _next(task.steps, _END)
                else:
                    stream, events, seconds = self._raise_pending(task, task.pending)
            except StopIteration:
                self.tasks.discard(task)
                continue
            except GoesOn as end:
                task.steps = end.args[0].__await__()
                runnable.insert(runnable.index(task) + 1, task)  # it runs at once
                continue
            except Exception as error:
                # A bug, or a failure that was not caught: it ends only this task.
                self.tasks.discard(task)
                if self._report is None:
                    self._runnable.extend(runnable[runnable.index(task) + 1 :])
                    raise
                self._report(task, error)
                continue
            if stream is None:
                if events > 0:
                    # As below. (`AT_HOME`: each client's wait for its next request.)
                    task.stream = home = task.home
                    task.parked = True
                    task.deadline = deadline = now + seconds
                    if deadline < self._next_alarm:
                        self._next_alarm = deadline
                    home.reader = task
                    if home.armed == _IN:
                        continue
                    if not home.armed & _IN:
                        self._arm(home, (home.armed & ~_RDHUP) | _IN)
                elif events:
                    self.tasks.discard(task)
                elif seconds:
                    self._let_pass(task, now + seconds)
                else:
                    self._runnable.append(task)  # it only gives other tasks their turn
                continue
            task.stream = stream
            task.parked = True
            task.deadline = deadline = now + seconds
            if deadline < self._next_alarm:
                self._next_alarm = deadline
            if events == READ:
                stream.reader = task
                if stream.armed == _IN:
                    continue  # as it nearly always is
            else:
                stream.writer = task
                if events & READ:
                    stream.reader = task
            wanted = _MASKS[events]
            if stream.armed & _MASKS_OR_EDGE[events] != wanted:
                self._arm(stream, (stream.armed & _LEVEL) | wanted)

    def _let_pass(self, task: Task, deadline: float) -> None:
        """Park a task that waits for nothing but this time."""
        task.stream = None
        task.parked = True
        task.deadline = deadline
        if deadline < self._next_alarm:
            self._next_alarm = deadline

    def _raise_pending(self, task: Task, pending: list[BaseException]) -> Parking:
        """Raise the pending exceptions of a task, each where it parks then, and return where it parks after the last.

        No variable keeps them: until CPython 3.14 the traceback of an exception leads on to this frame, and would make a cycle.
        """
        task.pending = None
        parked: Parking | None = None
        while pending:
            parked = task.steps.throw(pending.pop(0))
        assert parked is not None
        return parked

    def _arm(self, stream: Waitable, mask: int) -> None:
        """Change the events that are reported for a stream: by epoll, or for a channel by `tell`."""
        if stream.fd >= 0:
            try:
                self._epoll.modify(stream.fd, mask)
            except FileNotFoundError:  # taken out by `_disarm` after an error or a hang-up
                self._epoll.register(stream.fd, mask)
            except ValueError:
                return
        stream.armed = mask
        if mask & _IN and stream.holds:
            self.ready(stream)

    def _disarm(self, stream: Waitable, mask: int) -> None:
        """Stop the report of these events. Errors and hang-ups cannot be masked: they take the descriptor out."""
        if mask & _FATAL:
            self._epoll.unregister(stream.fd)
            stream.armed = 0
            return
        left = stream.armed & ~mask
        if mask & _IN and not mask & _RDHUP and stream.watches_departure:
            left |= _RDHUP  # bytes are unread, but the end of the stream must still be reported
        if left != stream.armed:
            self._arm(stream, left)

    def _tell(self, stream: Waitable, mask: int) -> None:
        """Handle any event except plain readability: wake the tasks that wait for it; disarm events without a task."""
        if mask & _OUT and stream.flush is not None and not stream.flush():
            mask &= _NOT_OUT  # there is more to flush before a task may write
            if not mask:
                return
        reader = stream.reader
        woken = False
        if mask & _NOT_OUT and reader is not None:
            woken = True
            self.wake(reader)
        if mask & _NOT_IN:
            task = stream.writer
            if task is not None:
                woken = True
                self.wake(task)
                if reader is None and mask & _IN and not mask & _NOT_READY:
                    # Repeated room for writing must not hide that bytes have arrived.
                    self._unexpected(stream, _IN)
        if not woken:
            self._unexpected(stream, mask)
        elif mask & _OUT and stream.writer is None and stream.armed & _OUT and not mask & _FATAL:
            # Most writes succeed at once: after one that had to wait, interest in writing is dropped again.
            self._arm(stream, stream.armed & ~_OUT)

    def _unpark(self, task: Task) -> None:
        stream = task.stream
        if stream is not None:
            if stream.reader is task:
                stream.reader = None
            if stream.writer is task:
                stream.writer = None
        task.parked = False

    def _unexpected(self, stream: Waitable, mask: int) -> None:
        """Handle an event that no task waits for: the stream may handle it; otherwise it is disarmed."""
        if stream.armed & _EDGE:
            self._arm(stream, _IN)  # what the next read leaves is reported once more: an end, bytes behind an urgent one
        if stream.unexpected is None or mask == _OUT or not stream.unexpected(stream):
            self._decline(stream, mask)

    def _decline(self, stream: Waitable, mask: int) -> None:
        """Disarm these events until a task parks or listens."""
        if stream.fd in self._streams and self._streams[stream.fd] is stream:
            self._disarm(stream, mask)

    def _ring_alarms(self, now: float) -> None:
        """Raise TimedOut in every parked task whose deadline has passed; wake those that only slept."""
        pause = self._last_sweep + _SWEEP_PAUSE
        if now < pause:
            self._next_alarm = pause
            return
        self._last_sweep = now
        nearest = _FAR
        for task in self.tasks:
            if not task.parked:
                continue
            if task.deadline <= now:
                if task.stream is not None:
                    task.pending = [TimedOut()]
                self._unpark(task)
                self._runnable.append(task)
            elif task.deadline < nearest:
                nearest = task.deadline
        self._next_alarm = nearest


class Event:
    """An occurrence that tasks wait for. is_set: whether it has happened."""

    __slots__ = ("_loop", "_waiting", "is_set")

    def __init__(self, loop: Loop) -> None:
        self.is_set = False
        self._loop = loop
        self._waiting: list[Task] = []

    def set(self) -> None:
        """Set it: all tasks that wait for it continue."""
        self.is_set = True
        for task in self._waiting:
            self._loop.wake(task)

    async def wait(self, seconds: float = _FAR) -> bool:
        """Wait until it is set, at most so many seconds; return whether it is."""
        if not self.is_set:
            task = self._loop.current()
            self._waiting.append(task)
            try:
                await park(None, 0, seconds)
            finally:
                self._waiting.remove(task)
        return self.is_set

    def __repr__(self) -> str:
        return f"<event {'has happened' if self.is_set else f'awaited by {len(self._waiting)}'}>"


async def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    await park(None, 0, seconds)


# After so many bytes a transfer that never had to wait gives other tasks their turn.
FAIR_SHARE: Final = 1 << 20


async def give_way() -> None:
    """Continue in the next turn: a transfer between two fast neighbours would otherwise occupy the loop."""
    await park(None, 0, 0.0)
