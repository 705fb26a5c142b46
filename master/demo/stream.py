"""Requests one after the other, each leaving a word on the terminal: the application that answered."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from master.demo.family import Child
from master.demo.signals import pause
from master.demo.speech import say
from master.demo.stage import CannotShow
from wproxy.address import Address

REQUEST_SECONDS = 2.0  # a Ctrl-C waits for the end of a request
PACE = 0.2
WORDS_PER_LINE = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one request: the application that answered, or the failure in a word."""

    word: str
    is_good: bool


def ask(address: Address) -> Answer:
    """Send one request on a connection of its own, and return its result."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=REQUEST_SECONDS)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return Answer(f"FAILED({type(error).__name__})", False)
    finally:
        connection.close()
    name = response.getheader("X-Application")
    if response.status != 200 or name is None:
        return Answer(f"FAILED({response.status})", False)
    return Answer(name, True)


class Stream:
    """A tireless client, and its count."""

    def __init__(self, front_door: Child, address: Address) -> None:
        self.front_door = front_door
        self.address = address
        self.asked = 0
        self.failed = 0
        self.last = ""

    def __repr__(self) -> str:
        return f"<stream to {self.address}: {self.asked} asked, {self.failed} failed>"

    def run(self, is_enough: Callable[[], bool]) -> None:
        """Ask until it is enough, at a pace that eyes can follow; end the line it has begun."""
        column = 0
        while not is_enough():
            answer = ask(self.address)
            self.asked += 1
            self.failed += not answer.is_good
            self.last = answer.word
            say(answer.word if column else f"  {answer.word}", end=" ")
            column = (column + 1) % WORDS_PER_LINE
            if not column:
                say("")
            if not self.front_door.is_alive:
                raise CannotShow(f"wproxy {self.front_door.fate}")
            pause(PACE)
        if column:
            say("")
