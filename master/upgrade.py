"""The upgrade of the running program: a new master beside the old one, until one of them leaves (nginx/process.md §6).

    USR2 to the old     pid -> pid.oldbin, and the new binary is started with our command line
                        both serve: it has our listening sockets and our shared memory
    QUIT to the old     completes it: we finish what we have begun and leave
    QUIT to the new     rolls it back: when it is gone pid.oldbin becomes pid again, and workers that WINCH has sent away
                        are started again
    HUP to the old      also starts those workers, before the new one is told to leave, so that no client waits. nginx starts
                        another set at every HUP, we start the missing ones

A master has at most one other beside it, below (the new binary that it started) or above (the one that started it).
While it has, it starts no upgrade, files of unix sockets stay, and groups of sockets are not opened to sockets that only
one of them has; the records of the shared memory belong to the younger.

Under `daemon off` nginx ignores USR2, since the process that started it would take its end for the end of the service. We ask the
same question, whether the process that started us is still our parent, and make one exception: a service manager that
listens on NOTIFY_SOCKET can be told which process is the main one. Process 1 of a container cannot be replaced at all.
"""

from __future__ import annotations

import os

from master.counters import end_carrying
from master.environment import new_binary_environment
from master.new_binary import start_new_binary
from master.pidfile import remove_pid_file, rename_pid_file
from master.slots import bury_strangers
from master.state import State
from master.succession import Succession
from master.workers import describe_exit
from wproxy.config.tree import ConfigurationError
from wproxy.shared import HEAD_BEGUN, HEAD_NEW_BINARY, HEAD_PREDECESSOR, UPGRADE

OLD_SUFFIX = ".oldbin"
INTERVAL = 0.25  # seconds between two looks at whether the other master, or a worker that it left behind, is still there
STARTING_INTERVAL = 0.01  # seconds between two looks at a new binary that does not serve yet

IGNORED = "the changing binary signal is ignored: you should shutdown or terminate before either old or new binary's process"


class Upgrade:
    """One master's part in upgrades.

    has_strangers: whether there may be workers in the memory whose master is gone.
    """

    def __init__(self, state: State, succession: Succession) -> None:
        """state: with its inheritance, sockets and memory."""
        self._state = state
        self._succession = succession
        self.wanted = False
        self.has_strangers = state.memory.is_inherited
        self._is_told = False  # whether the outcome of the attempt is published
        state.shared.set_head(HEAD_PREDECESSOR, self._state.predecessor)

    @property
    def is_under_way(self) -> bool:
        """Whether there is another master beside us."""
        return bool(self._state.successor or self._state.predecessor)

    @property
    def other_master(self) -> int:
        """The pid of the other master; 0 when there is none."""
        return self._state.successor.pid if self._state.successor else self._state.predecessor

    def obstacle(self) -> str:
        """Return why there cannot be an upgrade now; "" when there can."""
        state = self._state
        if self._state.successor:
            return f"the new binary process {self._state.successor.pid} is running already"
        if self._state.predecessor and os.getppid() == self._state.predecessor:
            return f"the old binary process {self._state.predecessor} has not left yet"
        if os.getpid() == 1:
            return "process 1 cannot be replaced: start a new container"
        if os.getppid() == state.parent and not state.notifier.has_listener:
            return "it runs in the foreground, and the process that started it would take its end for the end of the service"
        return ""

    def due(self) -> float:
        """Return the seconds until the next process has to be looked at."""
        if self._state.successor and not self._is_told:
            return STARTING_INTERVAL
        return INTERVAL if self._state.predecessor or self.has_strangers or self._state.successor else float("inf")

    def ask(self) -> None:
        """Handle USR2."""
        obstacle = self.obstacle()
        if obstacle:
            self._state.error_log.write("crit", f"{IGNORED} ({obstacle})")
            self._tell(False, f"no upgrade: {obstacle}")
        else:
            self.wanted = True

    def begin(self) -> None:
        """Start the new binary."""
        self.wanted = False
        state = self._state
        assert state.current
        log = state.error_log
        self._is_told = False
        path = state.current.pid_path
        if path:
            try:
                rename_pid_file(path, path + OLD_SUFFIX, state.current.distrusted)
            except ConfigurationError as error:
                log.write("alert", str(error))
                self._tell(False, str(error))
                return
        variables = new_binary_environment(state.current.configuration.env, os.environ)
        try:
            self._state.successor = start_new_binary(
                state.command, variables, state.sockets, state.memory.fileno, state.report.is_foreground
            )
        except OSError as error:
            text = f'fork() failed while spawning "new binary process" ({error.errno}: {error.strerror})'
            log.write("alert", text)
            self._restore_pid_file()
            self._tell(False, text)
            return
        log.write("notice", f"start new binary process {self._state.successor.pid}")
        state.sockets.keep_company()
        state.records.give_over()
        state.shared.set_head(HEAD_NEW_BINARY, self._state.successor.pid)

    def look(self) -> None:
        """See how the other master does, and bury what it left behind."""
        if self._state.successor:
            self._state.successor.listen()
            if self._state.successor.serves and not self._is_told:
                self._state.error_log.write("notice", f"new binary process {self._state.successor.pid} serves")
                self._tell(True, f"new binary process {self._state.successor.pid} serves")
        if self._state.predecessor and os.getppid() != self._state.predecessor:
            self._lose_predecessor()
        if self.has_strangers and not bury_strangers(self._state.shared, self.other_master):
            self.has_strangers = bool(self.other_master)
            if not self.other_master:
                end_carrying(self._state.shared)
                self._state.records.forget_inherited()

    def bury(self, pid: int, status: int) -> None:
        """Handle the end of a child that was not a worker: after the new binary's end everything is as before."""
        successor = self._state.successor
        if successor is None or successor.pid != pid:
            return
        successor.listen()
        successor.close()
        self._state.successor = None
        state = self._state
        level, text = describe_exit(f"new binary process {pid}", status)
        words = successor.words()
        state.error_log.write(level, text)
        for line in words:
            state.error_log.write("notice", f"new binary process {pid} said: {line}")
        self.has_strangers = True
        state.records.take_over()
        self._restore_pid_file()
        state.sockets.be_alone()
        if self._state.is_not_accepting and not state.stopping:
            self.restart_workers()
        state.shared.set_head(HEAD_NEW_BINARY, 0)  # last: a reader that sees it finds everything as it was
        if not self._is_told:
            self._tell(False, "\n".join([text, *words]))

    def leave_pid_file(self) -> str:
        """Return the path of the pid file to remove when we leave, or "".

        A file that our predecessor is going to rename its own over is not ours to remove: there is always a pid file.
        """
        current = self._state.current
        if current is None or not current.pid_path:
            return ""
        if self._state.successor:
            return current.pid_path + OLD_SUFFIX
        will_be_replaced = (
            self._state.predecessor and os.getppid() == self._state.predecessor and os.path.exists(current.pid_path + OLD_SUFFIX)
        )
        return "" if will_be_replaced else current.pid_path

    def _lose_predecessor(self) -> None:
        """Become the only master after the old binary has left or died."""
        gone, self._state.predecessor = self._state.predecessor, 0
        state = self._state
        state.shared.set_head(HEAD_PREDECESSOR, 0)
        state.error_log.write("notice", f"old binary process {gone} is gone")
        self.has_strangers = True
        state.sockets.be_alone()
        if state.current and state.current.pid_path:
            remove_pid_file(state.current.pid_path + OLD_SUFFIX, gone, state.current.distrusted)  # the old master was killed
        if state.current and not state.stopping:
            state.notifier.ready(os.getpid(), state.current.describe())

    def _restore_pid_file(self) -> None:
        current = self._state.current
        if current and current.pid_path:
            try:
                rename_pid_file(current.pid_path + OLD_SUFFIX, current.pid_path, current.distrusted)
            except ConfigurationError as error:
                self._state.error_log.write("alert", str(error))

    def _tell(self, serves: bool, text: str) -> None:
        """Publish the outcome of an attempt."""
        self._is_told = True
        self._state.shared.write_outcome(serves, text, UPGRADE)

    def stop_accepting(self) -> None:
        """Handle WINCH: the workers finish and leave, the sockets stay open and clients wait in their queues."""
        state = self._state
        if state.current:
            self._state.is_not_accepting = True
            state.respawns = []
            self._succession.retire(state.current)

    def restart_workers(self) -> None:
        """Start the workers again that `stop_accepting` has sent away."""
        state = self._state
        generation = state.current
        assert generation
        self._state.is_not_accepting = False
        state.sockets.commit(generation.configuration.all_listeners)  # the other master may have set other options
        there = {worker.index for worker in state.workers.of(generation) if not worker.is_retiring}
        for index in range(generation.processes):
            if index not in there:
                self._succession.respawn(generation, index)

    def serve_beside_new_binary(self) -> None:
        """Handle HUP to an old binary: serve once with the present configuration."""
        state = self._state
        state.shared.set_head(HEAD_BEGUN, state.shared.head(HEAD_BEGUN) + 1)
        if self._state.is_not_accepting:
            self.restart_workers()
            text = "the workers of the old binary are started again, with its old configuration"
        else:
            text = "the workers of the old binary serve already"
        state.error_log.write("notice", text)
        state.shared.write_outcome(True, text)

    def __repr__(self) -> str:
        return f"<upgrade: predecessor {self._state.predecessor}, successor {self._state.successor}>"
