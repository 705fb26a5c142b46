"""Edits at work: a worker takes over changes of upstreams, and makes them for all workers (`wproxy.edits`).

A worker that makes a change holds the record lock of the version meanwhile, writes the state file if there is one, publishes the
edits, and rings the bell: an eventfd that all workers listen to and none reads. Every worker then takes the edits over, before it
runs a task of the same turn, records that in its slot and rings again. The answer waits for all serving workers.

Rule 1. Nothing is awaited while the lock is held: it excludes other processes, not our own tasks.

Rule 2. The file comes first. When it cannot be written nothing is changed, not even in memory, and the answer gives the reason.

Rule 3. A worker takes edits over before it announces that it serves and once more after: another worker that makes a change in
between either sees that it serves, and waits for it, or has published before the second look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from worker.bell import Bell
from worker.loop import Event, Loop, Task, sleep
from worker.resolver.discovery import Discovery, FollowedName
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import Group
from worker.upstream.states import state_of
from wproxy.assignment import Assignment
from wproxy.config.model import Upstream
from wproxy.directives.upstream import UpstreamServer
from wproxy.edits.area import LARGEST, LOCK, EditsArea
from wproxy.edits.parameters import Refused
from wproxy.edits.servers import PresentServer, UpstreamEdits, decode, encode, present_servers, pruned, words_of
from wproxy.edits.state import state_text
from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_GENERATION,
    HEAD_NEW_BINARY,
    HEAD_PREDECESSOR,
    SERVING,
    WORKER_EDITS,
    WORKER_PID,
    WORKER_ROLE,
    WORKER_STATE,
    SharedWords,
)

# How long a change waits for another one, and then for the workers, in seconds.
LOCK_PATIENCE = 5.0
PATIENCE = 5.0
_PAUSE = 0.02

Lines = tuple[UpstreamServer, ...]
# Makes new edits from the lines of an upstream and its present edits; raises Refused.
Change = Callable[[Lines, UpstreamEdits], UpstreamEdits]


class Edits:
    """The edits known to one worker. upstreams: the blocks of the configuration, by name."""

    def __init__(
        self,
        assignment: Assignment,
        loop: Loop,
        groups: Mapping[str, Group],
        discovery: Discovery,
        log: Callable[[str, str], None],
        bell: Bell,
    ) -> None:
        self.upstreams = {each.name: each for each in assignment.configuration.upstreams if not each.implicit}
        self.groups = groups
        self.version = 0
        self._assignment = assignment
        self._loop = loop
        self._discovery = discovery
        self._log = log
        self._shared = assignment.shared
        self._area = EditsArea(assignment.shared)
        self._locks = RecordLocks(assignment.memory_fileno)
        self._slot = assignment.shared.worker(assignment.slot)
        self._edits: dict[str, UpstreamEdits] = {}
        self._present = {name: present_servers(each.server, UpstreamEdits()) for name, each in self.upstreams.items()}
        self._following: dict[int, Task] = {}  # tasks for the names of added servers, by the identity of their line
        self._bell = bell
        bell.listeners.append(self._hear)
        self._rung = Event(loop)  # set by a worker that has taken something over
        self._pruned = -1  # the version that contains nothing that our configuration overrules

    # Taking over.

    def _hear(self) -> None:
        """React to the bell."""
        self.heed()
        self._rung.set()

    def heed(self) -> None:
        """Take over the last edits, unless that has been done: then it costs a look at one word."""
        if self._area.version == self.version:
            return
        try:
            version, text = self._area.read()
            edits = decode(text)
            present = {
                name: present_servers(each.server, edits.get(name, UpstreamEdits())) for name, each in self.upstreams.items()
            }
        except (ValueError, TypeError) as error:
            # Our code writes no such text; the present state stays.
            self._log("alert", f"the changes of upstreams cannot be read: {error}")
            self.version = self._area.version
            return
        self.version, self._edits, self._present = version, edits, present
        for name, upstream in self.upstreams.items():
            self._obey(upstream, self.groups[name])
        self._slot.set(WORKER_EDITS, version)
        self._bell.ring()

    def _obey(self, upstream: Upstream, group: Group) -> None:
        came, went = group.renewal.obey(self.present(upstream))
        for line in went:
            task = self._following.pop(id(line), None)
            if task is not None:
                self._loop.cancel(task)
        for line in came:
            if not line.address.is_numeric:
                name = FollowedName(line, line.address, line.service, line.resolve)
                self._following[id(line)] = self._discovery.follow(name, upstream, group)

    def present(self, upstream: Upstream) -> list[PresentServer]:
        """Return the current servers of an upstream, including removed ones."""
        return self._present[upstream.name]

    # Changing.

    async def change(self, upstream: Upstream, change: Change) -> None:
        """Change the servers of an upstream; return when all serving workers have applied it. Raises Refused."""
        await self._lock()
        try:
            self.heed()
            version = self._write(upstream, change(upstream.server, self._edits.get(upstream.name, UpstreamEdits())))
        finally:
            self._locks.unlock(LOCK)
        before = self._states(upstream)
        self.heed()
        note_changes(before, self._states(upstream))
        await self._wait_for_all(version)

    def _states(self, upstream: Upstream) -> dict[LivePeer, str]:
        """Return the state of each peer of an upstream."""
        group = self.groups[upstream.name]
        return {peer: state_of(group, peer, int(self._loop.clock.now)) for peer in group.peers}

    async def _lock(self) -> None:
        if not self._area.exists:
            raise Refused(503, "there is no shared memory", "ServiceUnavailable")
        clock = self._loop.clock
        deadline = clock.now + LOCK_PATIENCE
        while not self._locks.try_lock(LOCK):
            if clock.now > deadline:
                raise Refused(503, "another change is under way", "ServiceUnavailable")
            await sleep(_PAUSE)

    def _write(self, upstream: Upstream, edits: UpstreamEdits) -> int:
        """Publish these edits, first in the file, while we hold the lock. Raises Refused with everything unchanged."""
        known = {name: each for name, each in self._edits.items() if each != UpstreamEdits()}
        text = encode({**known, upstream.name: edits})
        if len(text) > LARGEST:
            raise Refused(507, "there is no room for more changes", "InsufficientStorage")
        if upstream.state:
            path = self._assignment.configuration.path(upstream.state)
            servers = [each.server for each in present_servers(upstream.server, edits) if each.server is not None]
            try:
                replace_file(path, state_text(servers))
            except OSError as error:
                reason = f'state file "{path}" cannot be written ({error.errno}: {error.strerror}), nothing is changed'
                self._log("error", f'{reason} in upstream "{upstream.name}"')
                raise Refused(500, reason, "StateFileError") from None
        what = difference(self.present(upstream), present_servers(upstream.server, edits))
        self._log("notice", f'upstream "{upstream.name}" is changed:{what}')
        return self._area.publish(text)

    async def _wait_for_all(self, version: int) -> None:
        """Wait until every serving worker has taken over this version. Raises Refused."""
        clock = self._loop.clock
        deadline = clock.now + PATIENCE
        while late := late_workers(self._shared, version):
            if clock.now > deadline:
                pids = ", ".join(map(str, late))
                raise Refused(504, f"the change is made, but workers do not answer yet: {pids}", "WorkersLate")
            self._rung.is_set = False
            await self._rung.wait(_PAUSE)

    # At intervals.

    def tick(self) -> None:
        """Look for edits in case the bell was missed; forget those that our configuration overrules, if allowed."""
        self.heed()
        if self._pruned == self.version or not has_last_word(self._shared, self._assignment.generation):
            return
        self._pruned = self.version
        if self._prune() == self._edits or not self._locks.try_lock(LOCK):
            return
        try:
            self.heed()
            self._area.publish(encode(self._prune()))
        finally:
            self._locks.unlock(LOCK)
        self.heed()

    def _prune(self) -> dict[str, UpstreamEdits]:
        kept = {}
        for name, edits in self._edits.items():
            upstream = self.upstreams.get(name)
            if upstream is not None and edits.edits:
                kept[name] = pruned(upstream.server, edits)
        return {name: edits for name, edits in kept.items() if edits.edits}

    def __repr__(self) -> str:
        return f"<edits, version {self.version} of {self._area.version}>"


def late_workers(shared: SharedWords, version: int) -> list[int]:
    """Return the pids of serving workers that have not reached this version; the manager of caches and its loader never do."""
    slots = (slot for slot in map(shared.worker, range(shared.slots)) if slot.get(WORKER_PID) and not slot.get(WORKER_ROLE))
    return [slot.get(WORKER_PID) for slot in slots if slot.get(WORKER_STATE) == SERVING and slot.get(WORKER_EDITS) < version]


def has_last_word(shared: SharedWords, generation: int) -> bool:
    """Whether the configuration of this generation determines the servers.

    During an upgrade of the program neither master's does: each has servers that the other one may not know, and either may be
    the one that stays.
    """
    is_alone = not (shared.head(HEAD_NEW_BINARY) or shared.head(HEAD_PREDECESSOR))
    return is_alone and shared.head(HEAD_GENERATION) == generation


def note_changes(before: Mapping[LivePeer, str], after: Mapping[LivePeer, str]) -> None:
    """Note what a change by hand has made of peers; the worker that makes it does so, for all."""
    for peer in {**before, **after}:
        was, is_now = before.get(peer, "gone"), after.get(peer, "gone")
        if was != is_now:
            peer.counters.changed(was, is_now, "by_hand")


def difference(before: list[PresentServer], after: list[PresentServer]) -> str:
    """Return the changes from one to the other, for the log: ` -127.0.0.1:80 +127.0.0.1:80 down`."""
    lines = [
        {" ".join(words_of(each.server)): None for each in present if each.server is not None} for present in (before, after)
    ]
    gone = (f" -{line}" for line in lines[0] if line not in lines[1])
    return "".join([*gone, *(f" +{line}" for line in lines[1] if line not in lines[0])]) or " nothing is different"


def replace_file(path: str, text: bytes) -> None:
    """Replace a file with a text, as a whole or not at all. Raises OSError."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "wb") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError:
        try:
            os.unlink(beside)
        except OSError:
            pass  # there was no such file
        raise
