"""The worker that checks an upstream, and the times of its checks.

Every worker has a checker for each upstream with checks, and exactly one worker's is active: the one that holds the lock on the
upstream's word (`wproxy.checked_health.checker_word`). The kernel takes the lock from a worker that dies, however it dies;
one that drains gives it back. The others test every LOOK_EVERY seconds whether it is free: a system call of 1 us.

The holder has a task for each check of each peer. It notices peers that come and go (discovery) at its next look. A successor
continues where its predecessor stopped: the time of the last check is in the peer's record.
"""

from __future__ import annotations

from random import random

from worker.loop import Task, sleep
from worker.services import Services
from worker.upstream.checks.probe import CannotBind, Probe
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import Group
from wproxy.checked_health import HEALTHY, UNHEALTHY, CheckedHealth, CheckRecord, Streak, checker_word, judge
from wproxy.config.model import Check
from wproxy.health_match import Verdict

# The interval of looks at a lock that another worker holds, in seconds: a successor is late by no more than that.
LOOK_EVERY = 0.25


class HealthChecks:
    """All checkers of a worker."""

    def __init__(self, services: Services) -> None:
        self._services = services
        groups = [services.groups[upstream.name] for upstream in services.configuration.upstreams if upstream.checks]
        self.checkers = [Checker(services, group) for group in groups]
        self._tasks: list[Task] = []

    def start(self) -> None:
        """Get ready to check from now on."""
        spawn = self._services.loop.spawn
        self._tasks = [spawn(checker.attend(), f"health checks of {checker.group.name}") for checker in self.checkers]

    def resign(self) -> None:
        """Let other workers check: this one is exiting."""
        for task in self._tasks:
            self._services.loop.cancel(task)
        self._tasks.clear()
        for checker in self.checkers:
            checker.resign()


class Checker:
    """The checks of one upstream in one worker."""

    def __init__(self, services: Services, group: Group) -> None:
        self.services = services
        self.group = group
        self.is_held = False
        self._word = checker_word(group.name)
        self._tasks: dict[tuple[LivePeer, Check], Task] = {}

    async def attend(self) -> None:
        """Check whenever no other worker does, forever."""
        locks = self.services.shared.locks
        while True:
            if not self.is_held:
                self.is_held = locks is None or locks.try_lock(self._word)
            if self.is_held:
                self.assign()
            await sleep(LOOK_EVERY)

    def resign(self) -> None:
        """Stop checking, and leave it to another worker."""
        for task in self._tasks.values():
            self.services.loop.cancel(task)
        self._tasks.clear()
        locks = self.services.shared.locks
        if self.is_held and locks is not None:
            locks.unlock(self._word)
        self.is_held = False

    def assign(self) -> None:
        """Have a task for every check of every present peer that is not down, and none for others."""
        loop = self.services.loop
        checked = {(peer, check) for peer in self.group.peers if not peer.down for check in self.group.upstream.checks}
        for gone in self._tasks.keys() - checked:
            loop.cancel(self._tasks.pop(gone))
        for peer in self.group.peers:
            health = peer.health
            if peer.down or not isinstance(health, CheckedHealth):
                continue
            missing = [check for check in self.group.upstream.checks if not self._is_made(peer, check)]
            if missing:
                self._begin(peer, missing, health.record)

    def _is_made(self, peer: LivePeer, check: Check) -> bool:
        """Whether this check of this peer has a task that no bug has ended."""
        return self._tasks.get((peer, check)) in self.services.loop.tasks

    def _begin(self, peer: LivePeer, checks: list[Check], record: CheckRecord) -> None:
        """Run these checks of a peer from now on."""
        is_same = record.take_over()
        has_to_pass = bool(record.pending)
        for check in checks:
            # A check that a bug has ended continues at its usual time.
            at_once = (peer, check) not in self._tasks and (has_to_pass or not is_same)
            watch = self._watch(peer, check, record, at_once)
            self._tasks[peer, check] = self.services.loop.spawn(watch, f"health check of {peer.name}")

    async def _watch(self, peer: LivePeer, check: Check, record: CheckRecord, at_once: bool) -> None:
        """Check a peer again and again. at_once: whether the peer has yet to pass it, or it is the first check."""
        clock, settings = self.services.loop.clock, check.settings
        last = record.last_check
        due = clock.now if at_once or not last else min(last, clock.now) + settings.interval
        probe = Probe(self.services, check, peer)
        streak = Streak()
        trouble = ""
        try:
            while True:
                await sleep(max(0.0, due + random() * settings.jitter - clock.now))
                began = clock.now
                record.begin(began)
                try:
                    verdict = await probe.run()
                except CannotBind as error:
                    if str(error) != trouble:
                        self._log(check, peer, "crit", str(error))
                    trouble = str(error)
                else:
                    # Lasting trouble is logged once: a dead peer would fill the log.
                    if verdict.is_trouble and verdict.reason != trouble:
                        self._log(check, peer, "error", f"{verdict.reason} while {verdict.doing}", setting=verdict.setting)
                    trouble = verdict.reason
                    self._conclude(check, peer, judge(record, check, streak, verdict.passed, clock.now), verdict)
                due = began + settings.interval
        finally:
            probe.close()

    # Results.

    def _conclude(self, check: Check, peer: LivePeer, state: str, verdict: Verdict) -> None:
        """Log a peer that has changed its state: "" for one that has not."""
        if state == UNHEALTHY:
            peer.counters.checked("up", "unhealthy")
            self._log(check, peer, "warn", f"peer is unhealthy while {verdict.doing}", verdict.reason)
        elif state == HEALTHY:
            peer.counters.checked("unhealthy", "up")
            self._log(check, peer, "notice", f"peer is healthy while {verdict.doing}")
            if self.group.queue is not None:
                self.group.queue.wake()

    def _log(self, check: Check, peer: LivePeer, level: str, text: str, reason: str = "", setting: str = "") -> None:
        """Log nginx's line about a check, followed by the reason and the directive that asks for it."""
        port = f", port {check.settings.port}" if check.settings.port else ""
        why = f"{reason}; " if reason else ""
        check.location.route.log.write(
            level,
            f'{text}, health check "{check.match.name}" of peer {peer.name} in upstream "{self.group.name}"{port}'
            f"{setting} ({why}health_check: {check.position})",
        )

    def __repr__(self) -> str:
        return f"<checker of {self.group.name}: {len(self._tasks)} tasks>"
