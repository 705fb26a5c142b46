"""Replacement of workers that have ended, and their dismissal (nginx: ngx_reap_children).

A worker that ends by itself, killed or failing, is replaced at once; one that dies young, again and again, ever later; one that
exits with FATAL_CODE is not replaced, nor is a helper that has done its work.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterable

from master.generation import Generation
from master.state import State
from master.workers import FATAL_CODE, Worker, describe_end, exit_word
from wproxy.shared import HEAD_RESPAWNED

SHORT_LIFE = 1.0  # seconds: a worker that dies younger probably dies at once again
RESPAWN_DELAYS = (0.1, 5.0)  # seconds, first and longest: doubled from one short life to the next


class Succession:
    """The master's care for its workers."""

    def __init__(self, state: State) -> None:
        self._state = state

    def start_worker(self, generation: Generation, index: int) -> None:
        """Fork a worker of this generation; raises OSError."""
        state = self._state
        worker = state.workers.start(generation, index)
        generation.log.write("notice", f"start {worker.title}")

    def leave_master(self, generation: Generation, own: Iterable[int]) -> None:
        """In a new worker of this generation: give up everything that is only the master's, and all sockets but its own."""
        state = self._state
        os.close(state.lifeline_write)  # otherwise no worker would ever read the end of file
        state.report.close()
        if state.successor is not None:
            state.successor.close()  # the pipes of a new binary that has not begun to serve yet
        state.start_log.close()
        state.sockets.keep_only(own)
        if generation.log is not state.error_log:
            state.error_log.close()
        state.inheritance.restore_standard_error()
        if not state.report.is_foreground:
            generation.log.take_over_stderr()

    def bury(self, worker: Worker, status: int) -> str:
        """Log the end of a worker and plan its replacement; return the reason why the pending generation cannot serve, or ""."""
        state = self._state
        level, text = describe_end(worker, status)
        reason, stack = worker.last_words
        if reason and worker.generation is not state.pending:  # for that one the reason is reported when it is abandoned
            level, text = "emerg", f"{text}: {reason}"
        state.error_log.write(level, text)
        if stack:
            told = stack.replace("\n", "\n\t")
            state.error_log.write("alert", f"{worker.title} was in:\n\t{told}")
        word = exit_word(worker, status)
        state.shared.set_head(word, state.shared.head(word) + 1)
        self.rescue_lines(worker)
        generation = worker.generation
        failure = ""
        helper = generation.helper(worker.index)
        if helper is not None and helper.ends and status == 0:
            pass
        elif generation is state.pending:
            failure = f"{text} before it served{reason and f': {reason}'}"
        elif generation is state.current and os.WIFEXITED(status) and os.WEXITSTATUS(status) == FATAL_CODE:
            text = f"{worker.title} exited with fatal code {FATAL_CODE} and cannot be respawned"
            state.error_log.write("alert", text)
        elif generation is state.current and not worker.is_retiring:
            lived = time.monotonic() - worker.started
            lives = generation.short_lives.get(worker.index, 0) + 1 if lived < SHORT_LIFE else 0
            generation.short_lives[worker.index] = lives
            self.respawn_later(generation, worker.index)
        self.release(generation)
        return failure

    def rescue_lines(self, worker: Worker) -> None:
        """Write the lines of access logs that a killed worker had not written."""
        state = self._state
        try:
            if worker.unwritten.write_out(worker.generation.identity):
                state.error_log.write("info", f"access log lines of {worker.title} written after its end")
        except OSError as error:
            text = f'write() to "{error.filename}" failed ({error.errno}: {error.strerror}), access log lines lost'
            state.error_log.write("alert", text)
        finally:
            worker.unwritten.close()

    def respawn_later(self, generation: Generation, index: int) -> None:
        """Respawn it at once, unless its predecessors died young: a crash at the start must not become a storm of forks."""
        lives = generation.short_lives.get(index, 0)
        first, longest = RESPAWN_DELAYS
        delay = min(longest, first * 2 ** (lives - 1)) if lives else 0.0
        self._state.respawns.append((time.monotonic() + delay, generation, index))
        shared = self._state.shared
        shared.set_head(HEAD_RESPAWNED, shared.head(HEAD_RESPAWNED) + 1)

    def due(self) -> float:
        """Return the monotonic seconds at which the next successor is to be started."""
        return min((when for when, _, _ in self._state.respawns), default=math.inf)

    def respawn_due(self, now: float) -> None:
        """Start the successors whose time has come."""
        due = [respawn for respawn in self._state.respawns if respawn[0] <= now]
        self._state.respawns = [respawn for respawn in self._state.respawns if respawn[0] > now]
        for _, generation, index in due:
            self.respawn(generation, index)

    def respawn(self, generation: Generation, index: int) -> None:
        """Start the successor of a worker that died, or later again if that fails."""
        state = self._state
        try:
            self.start_worker(generation, index)
        except OSError as error:
            role = generation.role(index)
            state.error_log.write("alert", f'fork() failed while spawning "{role} process" ({error.errno}: {error.strerror})')
            generation.short_lives[index] = generation.short_lives.get(index, 0) + 1
            self.respawn_later(generation, index)

    def release(self, generation: Generation) -> None:
        """Free the records of a generation without any process left."""
        state = self._state
        if generation not in (state.current, state.pending) and not state.workers.of(generation):
            state.records.release(generation)

    def retire(self, generation: Generation) -> None:
        """Tell its workers to finish what they have begun, then go."""
        state = self._state
        for worker in state.workers.of(generation):
            if not worker.is_retiring:
                # A worker that has not served yet has nothing to finish, and no handler for QUIT.
                worker.retire(signal.SIGTERM if worker.is_starting else signal.SIGQUIT, generation.patience())
        self.release(generation)
