"""The story of `wproxy demo`: start everything, say what to try, break one application, repair it, and stay."""

from __future__ import annotations

import sys
import time

from master.demo.family import Child, Family, python_command
from master.demo.invitation import things_to_try, typed
from master.demo.signals import Ended, hold_signals, pause
from master.demo.speech import say, say_goodbye
from master.demo.stage import CannotShow, Stage, set_stage
from master.demo.stream import WORDS_PER_LINE, Stream, ask
from wproxy.address import Address
from wproxy.config.tree import ConfigurationError

START_SECONDS = 10.0
COME_BACK_SECONDS = 25.0  # fail_timeout is 10 s by default
RESTART_PAUSE = 5.0


def run_demo(configuration_file: str, *, once: bool = False) -> int:
    """Run the demo on this wproxy.toml; once: return after the failover instead of waiting for Ctrl-C.

    Returns the exit code: 0 at its end and at Ctrl-C, 1 when something could not be shown or a request failed. Blocks
    SIGINT, SIGTERM and SIGHUP for the rest of the process.
    """
    hold_signals()
    try:
        stage = set_stage(configuration_file)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"wproxy: [emerg] {problem}", file=sys.stderr)
        return 1
    except CannotShow as reason:
        print(f"wproxy demo: {reason}", file=sys.stderr)
        return 1
    family = gather(stage)
    try:
        start(family, stage)
        introduce(family, stage)
        failures = show_failover(family, stage)
        if not once:
            stay(family)
    except Ended:
        return 0
    except CannotShow as reason:
        print(f"\nwproxy demo: {reason}", file=sys.stderr)
        return 1
    finally:
        family.stop()
        say_goodbye("\neverything stopped")
    return 1 if failures else 0


def gather(stage: Stage) -> Family:
    """Return all processes, not yet started. wproxy stays in the foreground whatever the file says about `daemon`."""
    return Family(
        Child("wproxy", python_command("wproxy", "start", "--foreground", "-c", stage.file)),
        [
            Child(name, python_command("master.demo.app", str(address.port), name, "--with-parent"))
            for name, address in stage.applications.items()
        ],
    )


def start(family: Family, stage: Stage) -> None:
    """Start the applications, then wproxy; return when the whole way through answers."""
    for child in family.applications:
        child.start()
    for child, address in zip(family.applications, stage.applications.values()):
        wait_until_it_answers(child, address)
    family.wproxy.start()
    wait_until_it_answers(family.wproxy, stage.front)


def wait_until_it_answers(child: Child, address: Address) -> None:
    """Wait until the child answers; raises CannotShow when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not ask(address).is_good:
        if not child.is_alive:
            # It has reported on standard error what was wrong.
            raise CannotShow(f"{child.name} {child.fate}")
        if time.monotonic() > deadline:
            raise CannotShow(f"{child.name} does not answer on {address} within {START_SECONDS:.0f} s")
        pause(0.05)


def introduce(family: Family, stage: Stage) -> None:
    """Print the processes and what to try."""
    say("")
    for child, address in zip(family.applications, stage.applications.values()):
        say(f"  application {child.name:<8} {address}   pid {child.pid}")
    say(f"  wproxy               {stage.front}   pid {family.wproxy.pid}, configuration {typed(stage.file)}")
    say(f"\nOpen {stage.url}/ in a browser, or try in another terminal:\n")
    for line in things_to_try(stage):
        say(f"  {line}")


def show_failover(family: Family, stage: Stage) -> int:
    """Kill one application under a stream of requests and bring it back; return how many requests failed."""
    victim = family.applications[1]
    stream = Stream(family.wproxy, stage.front)
    say("\nFailover. Each word is the application that answered one request:\n")
    stream.run(lambda: stream.asked >= WORDS_PER_LINE)
    say(f"    kill -9 {victim.pid}: application {victim.name} is gone, its requests go to the others")
    victim.kill()
    stream.run(lambda: stream.asked >= 2 * WORDS_PER_LINE)
    say(f"    application {victim.name} runs again; wproxy tries it when its fail_timeout is over")
    victim.start()
    began = time.monotonic()
    stream.run(lambda: stream.last == victim.name or time.monotonic() > began + COME_BACK_SECONDS)
    if stream.last != victim.name:
        raise CannotShow(f"application {victim.name} did not come back within {COME_BACK_SECONDS:.0f} s")
    say(f"    application {victim.name} is back after {time.monotonic() - began:.0f} s")
    say(f"\n{stream.asked} requests, {stream.failed} failed.")
    return stream.failed


def stay(family: Family) -> None:
    """Stay until Ctrl-C. An application that ends is started again after a while; without wproxy there is no demo."""
    say("\nEverything keeps running, and applications you kill come back; Ctrl-C stops it all.")
    due: dict[str, float] = {}
    while True:
        pause(0.5)
        if not family.wproxy.is_alive:
            raise CannotShow(f"wproxy {family.wproxy.fate}")
        for child in family.applications:
            if child.is_alive:
                continue
            if child.name not in due:
                due[child.name] = time.monotonic() + RESTART_PAUSE
                say(f"application {child.name} {child.fate}; it starts again in {RESTART_PAUSE:.0f} s")
            elif time.monotonic() > due[child.name]:
                del due[child.name]
                child.start()
                say(f"application {child.name} runs again, pid {child.pid}")
