"""`open_log_file_cache`: logs with variables in their names stay open for a while (nginx: ngx_http_log_script_write).

Every `valid` seconds the name is checked: until then a log that was renamed, or whose directory was, is still written to. All are
closed when logs are reopened.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from wproxy.directives.log import LogFileCache
from wproxy.http import Clock
from wproxy.log_files import may_take_back, open_for_appending


class NamedLog:
    """One log: its descriptor, or -1. asked, checked: times of the last request and check; uses: the number of requests."""

    __slots__ = ("asked", "checked", "fileno", "is_file", "path", "uses")

    def __init__(self, path: str) -> None:
        self.path = path
        self.fileno = -1
        self.is_file = False
        self.uses = 0
        self.asked = self.checked = 0.0

    def open(self, now: float) -> None:
        """Open the log. Raises OSError."""
        self.fileno = open_for_appending(self.path)
        self.is_file = may_take_back(self.fileno)
        self.checked = now

    def is_named(self) -> bool:
        """Whether the file of its name is still the open one."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fileno))
        except OSError:
            return False

    def close(self) -> None:
        """Close the log; closing twice is allowed."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1

    def __repr__(self) -> str:
        return f"<named log {self.path}{'' if self.fileno >= 0 else ' closed'}>"


class KeptLogs:
    """The logs of one cache, the last requested at the end. settings: None if no logs are kept."""

    def __init__(self, settings: LogFileCache | None, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._logs: OrderedDict[str, NamedLog] = OrderedDict()

    def take(self, path: str) -> NamedLog:
        """Return an open log; open it if necessary. Raises OSError."""
        now = self._clock.now
        settings = self._settings
        if settings is None:
            log = NamedLog(path)
            log.open(now)
            return log
        self._forget_unasked(now, settings.inactive)
        log = self._logs.pop(path) if path in self._logs else NamedLog(path)
        if log.fileno >= 0 and now - log.checked >= settings.valid:
            if log.is_named():
                log.checked = now
            else:
                log.close()
        if log.fileno < 0:
            log.open(now)
        log.uses += 1
        log.asked = now
        if len(self._logs) >= settings.most:
            self._logs.popitem(last=False)[1].close()
        self._logs[path] = log
        return log

    def give_back(self, log: NamedLog) -> None:
        """Close a log that is not kept open."""
        if self._settings is None or log.uses < self._settings.least:
            log.close()

    def close(self) -> None:
        """Close all."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    def _forget_unasked(self, now: float, inactive: float) -> None:
        while self._logs:
            path, oldest = next(iter(self._logs.items()))
            if now - oldest.asked < inactive:
                break
            oldest.close()
            del self._logs[path]

    def __repr__(self) -> str:
        return f"<kept logs: {len(self._logs)}>"
