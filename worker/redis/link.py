"""A link to a Redis or Valkey at which machines count together: one connection of a worker, shared by all of its requests.

What the requests of one turn of the loop ask goes out in one send, and the answers come back in the same order.

Nobody waits longer than the server's `patience`. A link is *up* while its server answers in time. When it does not, or answers
with an error, or the connection ends, the link is down at once: whoever asks gets None without waiting, and decides by what this
machine knows. So only those wait that had asked before the trouble was known. A link that is down asks the server now and then
whether it answers in time again, less and less often; then it is up.

Whoever keeps something at the server that must be renewed after that gives the link a `Keeper`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import random
from typing import Any, Protocol

import hiredis

from worker.loop import READ, Loop, Task, park, sleep
from worker.redis.connect import Connector
from worker.redis.scripts import SCRIPTS, Script
from worker.resolver.resolver import CannotResolve
from worker.stream import CHUNK, Stream
from wproxy.failures import TimedOut
from wproxy.redis_url import RedisServer

# Seconds for a connection to be made; and for the answer to what a link asks for itself before the connection is given up.
CONNECT_PATIENCE = DEAD_AFTER = 3.0
# Seconds between two attempts to come up again: doubled with each failure.
PAUSE, LONGEST_PAUSE = 0.1, 5.0
# Seconds without trouble after which the next one is a new one; and how long the same trouble is not told again.
CALM, QUIET = 1.0, 60.0
# How many questions may be unanswered: more would be memory, and nobody could wait for their answers.
MOST_ASKED = 20_000
# Errors that another connection may not meet: the server is a replica now, or begins, or has forgotten who we are.
_ELSEWHERE = ("READONLY", "MASTERDOWN", "LOADING", "NOAUTH", "CLUSTERDOWN")

Word = bytes | str | int
_NOTHING = object()


class LinkFailure(Exception):
    """The connection is of no more use."""


class Keeper(Protocol):
    """A zone whose counts are kept at the server."""

    def begin(self) -> None:
        """Bring what the server should know, when the link comes up."""


class _Question:
    """A command that has been sent or waits for it.

    task: the one that waits for the answer, if any. is_over: whether there will be none any more; reply: the answer until then.
    script: what stands for the hash in the words. if_late: called with an answer that no task waits for.
    """

    __slots__ = ("if_late", "is_over", "is_probe", "reply", "script", "task", "words")

    def __init__(self, words: tuple[Word, ...], script: Script | None = None) -> None:
        self.words = words
        self.script = script
        self.task: Task | None = None
        self.reply: Any = None
        self.is_probe = self.is_over = False
        self.if_late: Callable[[Any], None] | None = None


class Link:
    """The link of one worker to one server.

    is_up: whether it is worth asking. is_settled: whether the first attempt is over. silences: how often it has gone down.
    """

    def __init__(self, server: RedisServer, loop: Loop, log: Callable[[str, str], None]) -> None:
        self.server = server
        self.is_up = self.is_settled = False
        self.silences = 0
        self.keepers: list[Keeper] = []
        self._loop = loop
        self._log = log
        self._connector = Connector(server, loop, log)
        self._queue: list[_Question] = []  # of this turn
        self._asked: deque[_Question] = deque()  # those that have been sent, and the queue
        self._stream: Stream | None = None
        self._task: Task | None = None
        self._sender: Task | None = None
        self._sender_waits = False
        self._pause = PAUSE
        self._trouble = ""  # while it lasts
        self._is_told = False
        self._trouble_at = float("-inf")
        self._told: dict[str, float] = {}

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = self._loop.spawn(self._run(), f"link to {self.server.shown}")

    # Questions of requests.

    async def ask(
        self,
        script: Script,
        keys: Iterable[bytes],
        arguments: Iterable[Word],
        if_abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Run a script and return its reply; None when there is none in time.

        if_abandoned: called with the reply when it comes for a request that was interrupted meanwhile.
        """
        return await self._answered(self._scripted(script, keys, arguments), if_abandoned)

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key; None without one, or when there is no answer in time."""
        reply = await self._answered(_Question((b"GET", key)))
        return reply if isinstance(reply, bytes) else None

    def tell(self, *words: Word) -> None:
        """Send a command whose answer nobody waits for."""
        if self.is_up:
            self._put(_Question(words))

    def run(self, script: Script, keys: Iterable[bytes], arguments: Iterable[Word]) -> None:
        """Run a script whose answer nobody waits for."""
        if self.is_up:
            self._put(self._scripted(script, keys, arguments))

    async def _answered(self, question: _Question, if_abandoned: Callable[[Any], None] | None = None) -> Any:
        """Ask, and wait for the answer."""
        if not self.is_up:
            return None
        clock = self._loop.clock
        question.task = self._loop.current()
        self._put(question)
        deadline = clock.now + self.server.patience
        try:
            while not question.is_over and clock.now < deadline:
                await park(None, 0, deadline - clock.now)
        except BaseException:
            question.if_late = if_abandoned
            raise
        finally:
            question.task = None
        if not question.is_over and self.is_up:
            self._suspend(f"no answer within {self.server.patience * 1000:g} ms")
        return question.reply

    def _scripted(self, script: Script, keys: Iterable[bytes], arguments: Iterable[Word]) -> _Question:
        words = tuple(keys)
        return _Question((b"EVALSHA", script.sha, len(words), *words, *arguments), script)

    def _put(self, question: _Question) -> None:
        """Put a question into the queue, which goes out when the tasks of this turn have run."""
        if len(self._asked) >= MOST_ASKED:
            question.is_over = True
            if self.is_up:
                self._suspend(f"{MOST_ASKED} questions are unanswered")
            return
        self._queue.append(question)
        self._asked.append(question)
        if self._sender_waits:
            self._sender_waits = False
            assert self._sender is not None
            self._loop.wake(self._sender)

    def renew(self, key: bytes, milliseconds: int) -> None:
        """Prolong the life of a key; if there is none any more, go down and come up, so that the keepers begin anew."""

        def heed(is_there: Any) -> None:
            if not is_there and self.is_up:
                self._suspend("it does not know this worker any more")

        if self.is_up:
            question = _Question((b"PEXPIRE", key, milliseconds))
            question.if_late = heed
            self._put(question)

    # The connection.

    async def _run(self) -> None:
        """Connect, serve, and begin anew when that ends."""
        while True:
            up_since = float("inf")
            try:
                stream = self._stream = await self._connector.open(CONNECT_PATIENCE)
                self._sender = self._loop.spawn(self._send(stream), f"questions to {self.server.shown}")
                await self._greet(stream)
                up_since = self._loop.clock.now
                self._come_up()
                await self._serve(stream)
            except (OSError, CannotResolve, LinkFailure, hiredis.ProtocolError) as failure:
                lived = self._loop.clock.now - up_since
                is_quiet_end = self.is_up and lived > CALM and not any(question.task for question in self._asked)
                self._end(str(failure) if not isinstance(failure, OSError) else _reason(failure), tells=not is_quiet_end)
                if is_quiet_end:
                    continue  # it closes idle connections, or has been restarted
            finally:
                self.is_up = False
                self._close()
            self.is_settled = True
            await self._rest()

    async def _rest(self) -> None:
        """Wait before the next attempt, each time longer, and not all workers as long."""
        pause = self._pause
        self._pause = min(2 * pause, LONGEST_PAUSE)
        await sleep(pause * (0.75 + random() / 2))

    def _close(self) -> None:
        """Close the connection. Those who wait get no answer."""
        if self._sender is not None:
            self._loop.cancel(self._sender)
            self._sender = None
        self._sender_waits = False
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        asked = list(self._asked)
        self._queue.clear()
        self._asked.clear()
        for question in asked:
            question.is_over = True
            if question.task is not None:
                self._loop.wake(question.task)

    async def _greet(self, stream: Stream) -> None:
        """Say who we are, choose the database and bring the scripts. Raises LinkFailure, OSError."""
        server = self.server
        greetings: list[tuple[bytes | str | int, ...]] = []
        if server.password:
            greetings.append((b"AUTH", server.user, server.password) if server.user else (b"AUTH", server.password))
        if server.database:
            greetings.append((b"SELECT", server.database))
        greetings += [(b"SCRIPT", b"LOAD", script.source) for script in SCRIPTS]
        greetings.append((b"PING",))
        questions = [_Question(words) for words in greetings]
        for question in questions:
            self._put(question)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        deadline = self._loop.clock.now + CONNECT_PATIENCE
        while questions[-1].reply is None:
            try:
                await park(stream, READ, deadline - self._loop.clock.now)
            except TimedOut:
                raise LinkFailure("no answer to the first commands") from None
            for reply in self._replies(stream):
                question = self._asked.popleft()
                question.reply = reply
                if isinstance(reply, hiredis.ReplyError):
                    word = question.words[0]
                    word = word.decode() if isinstance(word, bytes) else word
                    raise LinkFailure(f"{reply} (in answer to {word})")

    def _come_up(self) -> None:
        """Be up."""
        self.is_up = self.is_settled = True
        for keeper in self.keepers:
            keeper.begin()

    async def _serve(self, stream: Stream) -> None:
        """Hand out answers; while the link is down, find out whether the server answers in time again."""
        clock = self._loop.clock
        probe_at = float("inf")
        while True:
            if self.is_up:
                probe_at = float("inf")
            elif probe_at == float("inf"):
                probe_at = clock.now + self._pause * (0.75 + random() / 2)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                await park(stream, READ, max(0.001, probe_at - clock.now))
            except TimedOut:
                if self.is_up or probe_at == float("inf"):
                    continue
                if self._asked:
                    # What was asked before is not answered yet; one that stays silent for so long is gone.
                    if clock.now - self._trouble_at > DEAD_AFTER:
                        raise LinkFailure("it is silent") from None
                    probe_at = clock.now + PAUSE
                    continue
                probe = _Question((b"PING",))
                probe.is_probe = True
                self._put(probe)
                self._probed_at = clock.now
                probe_at = clock.now + DEAD_AFTER
                continue
            for reply in self._replies(stream):
                question = self._asked.popleft()
                if question.is_probe:
                    if clock.now - self._probed_at <= self.server.patience and not isinstance(reply, hiredis.ReplyError):
                        self._come_up()
                    probe_at = float("inf")
                else:
                    self._answer(question, reply)

    def _answer(self, question: _Question, reply: Any) -> None:
        """Give the reply to whom it is for. Raises LinkFailure for an error that ends the connection."""
        if isinstance(reply, hiredis.ReplyError):
            text = str(reply)
            if text.startswith("NOSCRIPT") and question.script is not None:
                # It has forgotten its scripts. With the source it learns this one again.
                again = question.words
                question.words, question.script = (b"EVAL", question.script.source, *again[2:]), None
                self._put(question)
                return
            if text.startswith(_ELSEWHERE):
                self._asked.appendleft(question)  # it is over with the others
                raise LinkFailure(text)
            if self.is_up:
                self._suspend(text)
            reply = None
        elif self._trouble and self.is_up and self._loop.clock.now - self._trouble_at > CALM:
            self._recover()
        question.reply, question.is_over = reply, True
        if question.task is not None:
            self._loop.wake(question.task)
        elif reply is not None and question.if_late is not None:
            question.if_late(reply)

    def _replies(self, stream: Stream) -> list[Any]:
        """Return the replies that have come. Raises OSError, hiredis.ProtocolError, LinkFailure."""
        reader = self._reader
        try:
            while data := stream.recv(CHUNK):
                reader.feed(data)
                if len(data) < CHUNK and not stream.holds:
                    break
        except BlockingIOError:
            pass
        else:
            if not data:
                raise LinkFailure("it has closed the connection")
        replies = []
        while (reply := reader.gets()) is not _NOTHING:
            replies.append(reply)
        return replies if len(replies) <= len(self._asked) else self._too_many()

    def _too_many(self) -> list[Any]:
        raise LinkFailure("it sends answers to nothing")

    async def _send(self, stream: Stream) -> None:
        """Send what is in the queue, in one piece, each time that there is something."""
        pack = hiredis.pack_command
        while True:
            if not self._queue:
                self._sender_waits = True
                await park(None, 0, float("inf"))
                self._sender_waits = False
                continue
            questions, self._queue = self._queue, []
            data = memoryview(b"".join([pack(question.words) for question in questions]))  # type: ignore[arg-type]  # one word only
            try:
                while data:
                    try:
                        data = data[stream.send(data) :]
                    except BlockingIOError:
                        await stream.room(DEAD_AFTER)
            except (OSError, TimedOut):
                return  # whoever reads is told of it, or waits in vain

    # Trouble.

    def _suspend(self, reason: str) -> None:
        """Be down until the server answers in time."""
        self.is_up = False
        self._tell(reason)
        if self._task is not None:
            self._loop.hasten(self._task, self._loop.clock.now)  # it has to ask for itself now

    def _end(self, reason: str, tells: bool) -> None:
        self.is_up = False
        if tells:
            self._tell(reason)

    def _tell(self, reason: str) -> None:
        """Log that each machine counts for itself: once while the trouble lasts, and the same trouble not every moment."""
        now = self._loop.clock.now
        self._trouble_at = now
        if self._trouble:
            return
        self.silences += 1
        self._trouble = reason
        self._is_told = now - self._told.get(reason, float("-inf")) >= QUIET
        if not self._is_told:
            return
        if len(self._told) > 100:
            self._told.clear()
        self._told[reason] = now
        self._log("error", f"{self.server.shown}: {reason}; until it answers, this machine's own counts decide")

    def _recover(self) -> None:
        """Note that the trouble is over."""
        if self._is_told:
            self._log("notice", f"{self.server.shown} answers again")
        self._trouble = ""
        self._pause = PAUSE

    def __repr__(self) -> str:
        return f"<link to {self.server.shown}: {'up' if self.is_up else self._trouble or 'not up yet'}, {len(self._asked)} asked>"


def _reason(failure: OSError) -> str:
    """Return the words for a failure of the system or of OpenSSL."""
    return f"{failure.errno}: {failure.strerror}" if failure.errno is not None and failure.strerror else str(failure)
