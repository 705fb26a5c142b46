"""All access logs of a worker: the functions that log a request, and the times when their lines are written.

Without `buffer=` lines are written when nothing else is to be done, and before a connection is closed. In a busy worker they are
written at the end of a turn of the loop that comes at least FLUSH_PAUSE after the last write, and whenever there are FLUSH_BYTES
of them: so it makes one system call for many lines. With `buffer=` they wait until the buffer is full or `flush=` is over.
Everything is written before files are reopened and at the exit.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Final

from worker.logs.errors import log_request
from worker.logs.files import LogFile
from worker.logs.formats import compile_format
from worker.logs.kept import KeptLogs
from worker.logs.syslog import connect_to_syslog
from wproxy.config.model import Configuration, Location
from wproxy.directives.log import AccessLog, LogFileCache
from wproxy.files import shown_path
from wproxy.http import Clock, Request
from wproxy.log_files import STANDARD, append_lines
from wproxy.safe_open import Distrusted
from wproxy.syslog import Syslog, SyslogSender
from wproxy.template import Template
from wproxy.unwritten import region

FLUSH_PAUSE: Final = 0.1
# The interval of reports of lost lines, in seconds.
REPORT_PAUSE: Final = 60.0

Write = Callable[[Request], None]
Line = Callable[[Request], bytes]


def _drop_report(level: str, text: str) -> None:
    """Drop a report: there is no error log."""


class AccessLogs:
    """All access logs of a worker."""

    def __init__(
        self,
        configuration: Configuration,
        clock: Clock,
        report: Callable[[str, str], Any] = _drop_report,
        unwritten: memoryview | None = None,
        distrusted: Distrusted | None = None,
    ) -> None:
        """report: gets (level, text) about lost lines. unwritten: memory in which the master finds lines if we are killed.

        distrusted: see `wproxy.assignment`.
        """
        self._distrusted = distrusted
        self._unwritten = unwritten
        self._regions = {path: index for index, path in enumerate(configuration.access_log_files)} if unwritten else {}
        self._configuration = configuration
        self._clock = clock
        self._report = report
        self._reported = clock.now - REPORT_PAUSE
        self._lost = 0  # lines, as far as that was reported
        self._files: dict[str, LogFile] = {}
        # Files without a buffer= come first: they are visited between two flushes.
        self._prompt: list[LogFile] = []
        self._gathering: list[LogFile] = []
        self._senders: dict[Syslog, SyslogSender] = {}
        self._named: dict[tuple[Template, LogFileCache | None], NamedByRequest] = {}
        self._kept: dict[LogFileCache | None, KeptLogs] = {}
        self._formats: dict[str, Line] = {}
        self._flushed = 0.0

    def writer(self, location: Location) -> Write | None:
        """Return the function that logs a finished request of this location; None if nothing is to be logged. Raises OSError."""
        if any(log.path == "off" for log in location.access_log):
            return None
        cache = location.open_log_file_cache
        writers = [write for log in location.access_log if (write := self._writer(log, cache)) is not None]
        if len(writers) < 2:
            return writers[0] if writers else None

        def write_all(request: Request) -> None:
            for write in writers:
                write(request)

        return write_all

    def flush_if_due(self) -> bool:
        """Write lines that have waited long enough; return whether others have to wait."""
        now = self._clock.now
        if now - self._flushed >= FLUSH_PAUSE:
            self._flushed = now
            for file in self._prompt:
                if file.buffered:
                    file.flush()
            waits = False
            for file in self._gathering:
                if file.buffered:
                    if file.is_due(now):
                        file.flush()
                    elif file.patience:
                        waits = True
            if now - self._reported >= REPORT_PAUSE:
                self._report_losses()
            return waits
        for file in self._prompt:
            if file.buffered:
                return True
        return self._must_look_again()

    def flush_prompt(self) -> bool:
        """Write the lines that wait only for a quiet moment; return whether others wait for `flush=`."""
        for file in self._prompt:
            if file.buffered:
                file.flush()
        return self._must_look_again()

    def _must_look_again(self) -> bool:
        return bool(self._gathering) and any(file.buffered and file.patience for file in self._gathering)

    def flush(self) -> None:
        """Write everything out."""
        self._flushed = self._clock.now
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Write everything out for the last time, and report lost lines."""
        self.flush()
        self._report_losses()

    def reopen(self) -> None:
        """Write everything out and open every file by its name again. Raises OSError: files that failed stay as they were."""
        self.flush()
        failure: OSError | None = None
        for file in self._files.values():
            try:
                file.open()
            except OSError as error:
                failure = error
        for kept in self._kept.values():
            kept.close()
        for sender in self._senders.values():
            sender.close()
        if failure is not None:
            raise failure

    @property
    def lost(self) -> int:
        """The number of lines that were lost so far."""
        return self._lost + sum(place.lost for place in self._places)

    @property
    def _places(self) -> tuple[LogFile | SyslogSender | NamedByRequest, ...]:
        """All places that lines go to."""
        return (*self._files.values(), *self._senders.values(), *self._named.values())

    def _report_losses(self) -> None:
        for place in self._places:
            error = place.failure
            if place.lost and error is not None:
                self._reported = self._clock.now
                self._report(
                    "alert", f"{place.title} failed ({error.errno}: {error.strerror}), access log lines lost: {place.lost}"
                )
                self._lost += place.lost
                place.lost = 0

    # Functions that log a request.

    def _writer(self, log: AccessLog, cache: LogFileCache | None) -> Write | None:
        line = self._line(log.format)
        if log.syslog is not None:
            write = self._syslog_writer(log.syslog, line)
        elif log.place is not None:
            write = self._named_writer(log.place, cache, line)
        else:
            write = self._file_writer(log, line)
        return write if log.condition is None else conditional(write, log.condition)

    def _line(self, name: str) -> Line:
        line = self._formats.get(name)
        if line is None:
            line = self._formats[name] = compile_format(self._configuration.log_formats[name])
        return line

    def _file_writer(self, log: AccessLog, line: Line) -> Write:
        file = self._file(log)
        if file.memory is not None and not log.buffer:
            return self._kept_writer(file, file.word, file.memory, line)

        def write(request: Request, file: LogFile = file, line: Line = line) -> None:
            text = line(request)
            file.lines.append(text)
            file.buffered += len(text)
            if file.buffered >= file.limit:
                file.flush()

        return write

    def _kept_writer(self, file: LogFile, word: memoryview | None, memory: memoryview, line: Line) -> Write:
        """Return a writer into the memory that the master sees: first the line, then its new length."""
        assert word is not None
        limit = len(memory)

        def write(
            request: Request,
            file: LogFile = file,
            word: memoryview = word,
            memory: memoryview = memory,
            line: Line = line,
            limit: int = limit,
        ) -> None:
            text = line(request)
            begin = file.buffered
            end = begin + len(text)
            if end > limit or file.memory is None:
                file.append(text)
                return
            memory[begin:end] = text
            file.buffered = word[0] = end

        return write

    def _file(self, log: AccessLog) -> LogFile:
        absolute = log.path if log.path in STANDARD else self._configuration.path(log.path)
        file = self._files.get(absolute)
        if file is None:
            file = LogFile(absolute, self._distrusted)
            try:
                file.open()
            except OSError as error:
                if self._distrusted is None:
                    raise
                # The master could open it, otherwise this generation would not exist. The change of its name since then may come
                # from a compromised worker, which must not keep its successors from serving.
                self._report("emerg", f'open() "{absolute}" failed ({error.errno}: {error.strerror}), its lines are lost')
            self._files[absolute] = file
            index = self._regions.get(absolute)
            if self._unwritten is not None and index is not None:
                file.use(*region(self._unwritten, index))
            self._prompt.append(file)
        if log.buffer and not file.gathers:
            file.gather(log)
            self._prompt.remove(file)
            self._gathering.append(file)
        return file

    def _syslog_writer(self, syslog: Syslog, line: Line) -> Write:
        sender = self._senders.get(syslog)
        if sender is None:
            sender = SyslogSender(syslog, self._configuration.identity.name, connect_to_syslog)
            self._senders[syslog] = sender
        clock = self._clock
        send, severity = sender.send, syslog.severity

        def write(request: Request) -> None:
            send(severity, line(request)[:-1], int(clock.wall))

        return write

    def _named_writer(self, place: Template, cache: LogFileCache | None, line: Line) -> Write:
        kept = self._kept.setdefault(cache, KeptLogs(cache, self._clock))
        named = self._named.setdefault((place, cache), NamedByRequest(place, self._configuration.prefix, kept))

        def write(request: Request) -> None:
            named.append(request, line(request))

        return write


def conditional(write: Write, condition: Template) -> Write | None:
    """Return a function that logs only if the condition is neither empty nor 0; None if that is never true."""
    if condition.constant is not None:
        return write if condition.constant not in (b"", b"0") else None
    evaluate = condition.evaluate

    def write_if(request: Request) -> None:
        if evaluate(request) not in (b"", b"0"):
            write(request)

    return write_if


class NamedByRequest:
    """Files with variables in their names: opened for each line or kept open, if the root directory of the request exists.

    The name may come from a client: a name with `..` that is not in the configuration is refused (nginx accepts it).
    """

    __slots__ = ("_climbs", "_evaluate", "_kept", "_prefix", "_text", "failure", "lost")

    def __init__(self, place: Template, prefix: str, kept: KeptLogs) -> None:
        self._text = place.text
        self._kept = kept
        self._evaluate = place.evaluate
        self._prefix = prefix.encode("utf-8", "surrogateescape")
        self._climbs = "/../" in f"/{place.text}"
        self.lost = 0
        self.failure: OSError | None = None

    @property
    def title(self) -> str:
        """Return the call that failed, for a line of the error log."""
        return f'write() to "{self._text}"'

    def append(self, request: Request, line: bytes) -> None:
        """Write a line to the file of this request; log an error if that fails."""
        root = request.location.files.directory(request)
        try:
            if not stat.S_ISDIR(os.stat(root).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except (OSError, ValueError) as absence:
            log_request(
                request, "error", f'testing "{shown_path(root)}" existence failed ({_reason(absence)}) while logging request'
            )
            return
        path = self._evaluate(request)
        is_safe = b"\0" not in path and (self._climbs or b"/../" not in b"/" + path)
        if not path.startswith(b"/"):
            path = self._prefix + path
        if not is_safe:
            log_request(request, "error", f'the name of the log "{shown_path(path)}" is not safe while logging request')
            return
        try:
            log = self._kept.take(os.fsdecode(path))
        except OSError as error:
            log_request(request, "crit", f'open() "{shown_path(path)}" failed ({_reason(error)}) while logging request')
            return
        try:
            if append_lines(log.fileno, line, log.is_file) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.lost += 1
            self.failure = error
        finally:
            self._kept.give_back(log)


def _reason(error: OSError | ValueError) -> str:
    return f"{error.errno}: {error.strerror}" if isinstance(error, OSError) else str(error)
