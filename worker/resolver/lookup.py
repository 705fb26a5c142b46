"""One question to several name servers: which to ask next, and when to give up.

A silent server has some seconds, then the next one is asked, round after round, with more patience each time. All servers that
have been asked are listened to until the end: a slow server's answer counts whenever it arrives. A server that cannot be reached,
cannot answer or answers nonsense gives way to the next one at once. When all have been asked and one of them has said that it
cannot answer, that is the result: asking again would change nothing soon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from worker.loop import Event, Loop, Task, sleep
from worker.resolver.exchange import Question
from wproxy.address import Address
from wproxy.dns import HOST_NOT_FOUND, NO_ERROR, SERVER_FAILURE, TIMED_OUT, Answer, BadMessage
from wproxy.failures import TimedOut

FIRST_PATIENCE, MOST_PATIENCE = 1.0, 5.0  # seconds for one server
PAUSE = 0.25  # seconds between the first two rounds in which no server could be reached; longer after each
MOST_ALIASES = 8  # aliases that lead out of the message


async def look_up(
    loop: Loop,
    servers: Sequence[Address],
    first: int,
    name: str,
    kind: int,
    deadline: float,
    log: Callable[[str, str], None],
) -> Answer:
    """Return the answer of any of the servers, beginning with number `first`; its code is TIMED_OUT when there is none in time.

    Aliases are followed over several questions. deadline: a time of the loop's clock.
    """
    least: int | None = None
    asked = name
    for _ in range(MOST_ALIASES):
        answer = await _ask_all(loop, servers, first, asked, kind, deadline, log)
        least = answer.ttl if least is None else min(least, answer.ttl)
        if answer.values or answer.code != NO_ERROR or answer.name == asked:
            return answer._replace(ttl=least)
        asked = answer.name
    return Answer(SERVER_FAILURE, (), asked, 0)


async def _ask_all(
    loop: Loop,
    servers: Sequence[Address],
    first: int,
    name: str,
    kind: int,
    deadline: float,
    log: Callable[[str, str], None],
) -> Answer:
    """Ask round after round; see the module's docstring."""
    asked = Asked(loop, name, kind, deadline)
    try:
        return await _go_round(asked, loop, servers, first, deadline, log)
    finally:
        asked.forget()


async def _go_round(
    asked: Asked, loop: Loop, servers: Sequence[Address], first: int, deadline: float, log: Callable[[str, str], None]
) -> Answer:
    clock, name = loop.clock, asked.name
    patience, pause = FIRST_PATIENCE, PAUSE
    told: set[str] = set()  # a server that is down stays so for many rounds: one line is enough

    def tell(text: str) -> None:
        if text not in told:
            told.add(text)
            log("error", text)

    while True:
        refusal: Answer | None = None
        has_waited = False
        for number in range(len(servers)):
            left = deadline - clock.now
            if left <= 0:
                return Answer(TIMED_OUT, (), name, 0)
            server = servers[(first + number) % len(servers)]
            asked.ask(server)
            until = clock.now + min(patience, left)
            said_by: Address | None = None
            while said_by != server:
                said = await asked.next_outcome(until - clock.now)
                if said is None:
                    has_waited = True
                    break
                said_by, outcome = said
                if isinstance(outcome, Answer):
                    if outcome.code in (NO_ERROR, HOST_NOT_FOUND):
                        return outcome
                    refusal = outcome
                elif isinstance(outcome, BadMessage):
                    tell(f'DNS error: {outcome} while resolving "{name}", resolver: {said_by}')
                    refusal = refusal or Answer(SERVER_FAILURE, (), name, 0)
                elif isinstance(outcome, OSError):
                    text = f"({outcome.errno}: {outcome.strerror})"
                    tell(f'recv() failed {text} while resolving "{name}", resolver: {said_by}')
                elif isinstance(outcome, ValueError):  # there is no need to ask any server about that
                    return Answer(HOST_NOT_FOUND, (), name, 0)
                else:
                    has_waited = True
        if refusal is not None:
            return refusal
        if not has_waited:
            await sleep(min(pause, max(deadline - clock.now, 0.001)))
            pause = min(pause * 2, MOST_PATIENCE)
        patience = min(patience * 2, MOST_PATIENCE)


Outcome = Answer | BadMessage | OSError | ValueError | TimedOut


class Asked:
    """The servers that were asked one question and have not answered yet: a task listens to each."""

    def __init__(self, loop: Loop, name: str, kind: int, deadline: float) -> None:
        """deadline: a time of the loop's clock; all listening ends then."""
        self.name = name
        self._loop = loop
        self._kind = kind
        self._deadline = deadline
        self._under_way: dict[Address, tuple[Question, Task]] = {}
        self._outcomes: deque[tuple[Address, Outcome]] = deque()
        self._said = Event(loop)

    def ask(self, server: Address) -> None:
        """Ask this server, again if it was asked and has not answered."""
        if server in self._under_way:
            self._under_way[server][0].repeat()
            return
        question = Question(self._loop, server, self.name, self._kind)
        task = self._loop.spawn(self._listen(question), f"question to {server}")
        self._under_way[server] = question, task

    async def _listen(self, question: Question) -> None:
        outcome: Outcome
        try:
            outcome = await question.answer(self._deadline)
        except (OSError, ValueError, TimedOut) as error:  # including BadMessage
            outcome = error
        del self._under_way[question.server]
        self._outcomes.append((question.server, outcome))
        self._said.set()

    async def next_outcome(self, seconds: float) -> tuple[Address, Outcome] | None:
        """Return a server and its outcome, waiting at most so many seconds; None when there is none."""
        if not self._outcomes:
            self._said.is_set = False
            await self._said.wait(max(seconds, 0.001))
        return self._outcomes.popleft() if self._outcomes else None

    def forget(self) -> None:
        """Stop listening."""
        for _, task in self._under_way.values():
            self._loop.cancel(task)
        self._under_way.clear()
