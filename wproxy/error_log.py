"""The error log, in nginx's line format, to every target that `error_log` names (nginx: src/core/ngx_log.c).

The master and each worker have logs of their own on the same files: a line is one `write` on a descriptor opened for appending,
so lines of several processes never mix. A target is a path, "stderr" or a Syslog, with the least severe level that it takes; a
file that is named twice gets every line twice, as in nginx.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from wproxy.address import Address
from wproxy.directives.core import LEVELS
from wproxy.error_json import json_line
from wproxy.log_files import AsJson, Place, append_lines, may_take_back, open_for_appending, plain_place
from wproxy.syslog import Connect, Syslog, SyslogSender
from wproxy.variables import error_log_time

RANKS = {level: rank for rank, level in enumerate(LEVELS)}
STDERR = 2
# nginx cuts lines (NGX_MAX_ERROR_STR), so that no client can fill a disk with one request. Tracebacks of our bugs may be longer.
LONGEST_LINE = 2048
_NEVER_CUT = RANKS["alert"]
# As in nginx Plus, logs as JSON take no debug lines.
_LEAST_OF_JSON = RANKS["info"]

# A function that opens a log file for appending by its path and returns the descriptor; raises OSError.
OpenFile = Callable[[str], int]


def no_syslog(server: Address) -> int:
    """Refuse a syslog target, for processes that never log to syslog."""
    raise OSError(0, "syslog is not at hand")


class ErrorLog:
    """Open logs. Each takes lines that are at least as severe as its level."""

    def __init__(
        self,
        targets: Iterable[tuple[Place, str]],
        read_wall: Callable[[], float],
        open_file: OpenFile = open_for_appending,
        connect: Connect = no_syslog,
        name: str = "wproxy",
    ) -> None:
        """Open (place, level) pairs; raises OSError with its filename set, and leaves nothing open.

        read_wall: a function that returns unix time in seconds. connect: makes the sockets to syslog. name: the tag of syslog
        lines.
        """
        self._targets: tuple[tuple[str, int, bool], ...] = ()
        self._senders: tuple[tuple[SyslogSender, int, bool], ...] = ()
        for place, level in targets:
            plain, is_json = plain_place(place), isinstance(place, AsJson)
            rank = min(RANKS[level], _LEAST_OF_JSON) if is_json else RANKS[level]
            if isinstance(plain, Syslog):
                self._senders = (*self._senders, (SyslogSender(plain, name, connect), rank, is_json))
            else:
                self._targets = (*self._targets, (plain, rank, is_json))
        self.has_json = any(is_json for _, _, is_json in (*self._targets, *self._senders))
        self._threshold = max((rank for _, rank, _ in (*self._targets, *self._senders)), default=-1)
        self._read_wall = read_wall
        self._open_file = open_file
        self._owns_stderr = False
        self._lost = 0  # since that was last reported
        self.lost = 0  # lines, in all
        self._filenos = self._open()
        self._is_file = [may_take_back(fileno) for fileno in self._filenos]

    def logs(self, level: str) -> bool:
        """Whether a line of that level would be written anywhere."""
        return RANKS[level] <= self._threshold

    def write(
        self,
        level: str,
        text: str,
        serial: int = 0,
        everywhere: bool = False,
        message: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Log a line at one of nginx's levels. serial: the number of the client connection that the line is about, if any.

        everywhere: whether to write to all targets, whatever their level (debug_connection). message, details: the parts of the
        text for targets that are JSON: the message alone, and what is known of the request.
        """
        rank = RANKS[level]
        if rank > self._threshold and not everywhere:
            return
        pid = os.getpid()
        connection = f"*{serial} " if serial else ""
        wall = self._read_wall()
        second = int(wall)
        plain = f"{error_log_time(second)} [{level}] {pid}#{pid}: {connection}{text}".encode("utf-8", "replace")
        if len(plain) >= LONGEST_LINE and rank > _NEVER_CUT:
            plain = plain[: LONGEST_LINE - 1]
        as_json = json_line(wall, level, pid, serial, message or text, details or {}) if self.has_json else b""
        if self._filenos:
            lost = self._lost
            self._append(plain + b"\n", as_json + b"\n", -1 if everywhere else rank)
            if lost and self._lost == lost:
                # There is room again: report once that some lines are missing.
                self._lost = 0
                self.write("alert", f"{lost} lines of the error log were lost")
        for sender, threshold, is_json in self._senders:
            if rank <= threshold or everywhere:
                sender.send(rank, as_json if is_json else plain[:LONGEST_LINE], second)

    def _append(self, plain: bytes, as_json: bytes, rank: int) -> None:
        for fileno, is_file, (_, threshold, is_json) in zip(self._filenos, self._is_file, self._targets, strict=True):
            if rank <= threshold:
                line = as_json if is_json else plain
                try:
                    is_lost = append_lines(fileno, line, is_file) < len(line)
                except OSError:
                    is_lost = True  # a full disk or a closed terminal is no reason to stop
                self._lost += is_lost
                self.lost += is_lost

    def reopen(self) -> None:
        """Reopen every file by its name, after a rotation; raises OSError and keeps the old files."""
        old, self._filenos = self._filenos, self._open()
        self._is_file = [may_take_back(fileno) for fileno in self._filenos]
        _close_files(old)
        for sender, _, _ in self._senders:
            sender.close()
        if self._owns_stderr:
            self.take_over_stderr()

    def close(self) -> None:
        """Close the files. Later lines go nowhere."""
        _close_files(self._filenos)
        for sender, _, _ in self._senders:
            sender.close()
        self._filenos = []
        self._is_file = []
        self._targets = ()
        self._senders = ()
        self._threshold = -1

    def take_over_stderr(self) -> None:
        """Redirect stray output of a background process to the first log that is a file."""
        for fileno in self._filenos:
            if fileno != STDERR:
                os.dup2(fileno, STDERR, inheritable=True)
                self._owns_stderr = True
                return

    def _open(self) -> list[int]:
        filenos: list[int] = []
        for path, _, _ in self._targets:
            try:
                filenos.append(STDERR if path == "stderr" else self._open_file(path))
            except OSError:
                _close_files(filenos)
                raise
        return filenos

    def __repr__(self) -> str:
        places = [path for path, _, _ in self._targets] + [repr(sender) for sender, _, _ in self._senders]
        return f"<error log to {', '.join(places)}>"


def _close_files(filenos: Iterable[int]) -> None:
    for fileno in filenos:
        if fileno != STDERR:
            os.close(fileno)
