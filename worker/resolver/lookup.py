"""One question to several name servers: whom to ask next, and when to give up.

A server that says nothing has so many seconds, and after it the next one is asked, round and round, with more patience each
time. A server that cannot be reached, cannot answer or answers nonsense makes room for the next one at once. When all have been
asked and one of them has said that it cannot, that is the outcome: to ask again would change nothing soon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.loop import Loop, sleep
from worker.resolver.exchange import ask
from wproxy.address import Address
from wproxy.dns import HOST_NOT_FOUND, NO_ERROR, SERVER_FAILURE, TIMED_OUT, Answer, BadMessage
from wproxy.failures import TimedOut

FIRST_PATIENCE, MOST_PATIENCE = 1.0, 5.0  # seconds for one server
PAUSE = 0.25  # seconds between the first two rounds in which nobody could be reached; longer after each
MOST_ALIASES = 8  # that lead out of the message


async def look_up(
    loop: Loop,
    servers: Sequence[Address],
    first: int,
    name: str,
    kind: int,
    deadline: float,
    log: Callable[[str, str], None],
) -> Answer:
    """The answer of any of the servers, beginning with number `first`; its code TIMED_OUT when there is none in time.

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
    """Round after round; see the module's description."""
    clock = loop.clock
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
            try:
                answer = await ask(loop, server, name, kind, min(patience, left))
            except TimedOut:
                has_waited = True
                continue
            except BadMessage as error:
                tell(f'DNS error: {error} while resolving "{name}", resolver: {server}')
                refusal = refusal or Answer(SERVER_FAILURE, (), name, 0)
                continue
            except ValueError:  # no server need be asked about that
                return Answer(HOST_NOT_FOUND, (), name, 0)
            except OSError as error:
                text = f"({error.errno}: {error.strerror})"
                tell(f'recv() failed {text} while resolving "{name}", resolver: {server}')
                continue
            if answer.code in (NO_ERROR, HOST_NOT_FOUND):
                return answer
            refusal = answer
        if refusal is not None:
            return refusal
        if not has_waited:
            await sleep(min(pause, max(deadline - clock.now, 0.001)))
            pause = min(pause * 2, MOST_PATIENCE)
        patience = min(patience * 2, MOST_PATIENCE)
