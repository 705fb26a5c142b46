"""The terminal of `wproxy top`: raw mode, resizing, and what has to be put back however it ends."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wproxy.top.history import History
from wproxy.top.keys import Action, Keyboard, Quit, split_keys
from wproxy.top.view import Look, chosen_rows, plain_text, screen
from wproxy.upstream_command import Api, CannotChange, run_action

EVERY = 1.0
_ENTER = "\x1b[?1049h\x1b[?25l"  # another screen, without a cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"


def top(api: Api, once: bool, as_json: bool) -> int:
    """Show the state of a running server until `q`; once for a script. Return the exit code. Raises CannotChange."""
    if as_json:
        sys.stdout.write(json.dumps(api.ask("GET", "/wproxy"), indent=2) + "\n")
        return 0
    history = History()
    history.add(api.ask("GET", "/wproxy"))
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        time.sleep(EVERY)  # rates need two states
        history.add(api.ask("GET", "/wproxy"))
        sys.stdout.write(plain_text(history))
        return 0
    with raw_terminal() as resized:
        try:
            watch(api, history, resized)
        except Quit:
            pass
    return 0


def watch(api: Api, history: History, resized: int) -> None:
    """Draw, and heed keys. resized: a descriptor that is readable when the window has another size. Raises Quit."""
    look = Look()
    keyboard = Keyboard(look)
    coloured = not os.environ.get("NO_COLOR")
    due = time.monotonic() + EVERY
    while True:
        draw(history, look, coloured)
        ready = select.select([sys.stdin, resized], [], [], max(0.0, due - time.monotonic()))[0]
        if resized in ready:
            os.read(resized, 4096)
        if sys.stdin in ready:
            typed = os.read(sys.stdin.fileno(), 4096)
            if not typed:
                raise Quit
            for key in split_keys(typed):
                action = keyboard.press(key, chosen_rows(history, look))
                if action is not None:
                    look.told = carry_out(api, action)
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY
            if not look.is_paused:
                try:
                    history.add(api.ask("GET", "/wproxy"))
                except CannotChange as error:
                    look.told = f"no answer: {error}"


def carry_out(api: Api, action: Action) -> str:
    """Change a peer; return what to tell of it."""
    try:
        return run_action(action.name, [action.upstream, action.server], False, api).removeprefix("wproxy: ").strip()
    except CannotChange as error:
        return str(error)


def draw(history: History, look: Look, coloured: bool) -> None:
    """Draw the screen: each line in its place, so that nothing flickers."""
    width, height = shutil.get_terminal_size()
    lines = screen(history, look, width, height, coloured)
    sys.stdout.write("\x1b[H" + "\x1b[K\r\n".join(lines) + "\x1b[K\x1b[J")
    sys.stdout.flush()


@contextmanager
def raw_terminal() -> Iterator[int]:
    """Take over the terminal, and put it back at the end, also at that of a signal; yields a descriptor for SIGWINCH."""
    fileno = sys.stdin.fileno()
    before = termios.tcgetattr(fileno)
    receiver, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    wakeup = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    handlers: dict[int, Callable[..., object] | int | None] = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: None)}
    for ending in (signal.SIGTERM, signal.SIGHUP):
        handlers[ending] = signal.signal(ending, _quit)
    try:
        tty.setcbreak(fileno)
        sys.stdout.write(_ENTER)
        yield receiver
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(fileno, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(receiver)
        os.close(sender)


def _quit(*_: object) -> None:
    raise Quit
