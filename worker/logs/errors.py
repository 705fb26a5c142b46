"""All error logs of a worker, and their lines about requests.

A server or a location may have error logs of its own; a line about a request goes to those of its location, a line from before
there is one to those of the default server, and everything else to those of the main level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from worker.blaming import blaming
from worker.logs.formats import shown
from worker.logs.syslog import connect_to_syslog
from wproxy.config.model import Configuration, Described, Location
from wproxy.directives.core import DebugConnection
from wproxy.error_log import ErrorLog
from wproxy.http import Request
from wproxy.log_files import Place, open_for_appending
from wproxy.route import Route
from wproxy.safe_open import Distrusted
from wproxy.variables.request import request_id

Targets = tuple[tuple[Place, str], ...]


class ErrorLogs:
    """The error logs of the main level, and those of servers and locations that have their own."""

    def __init__(
        self,
        configuration: Configuration,
        read_wall: Callable[[], float],
        distrusted: Distrusted | None = None,
        main: ErrorLog | None = None,
    ) -> None:
        """Open all. Raises CannotBegin.

        read_wall: returns unix time in seconds. distrusted: see `wproxy.assignment`. main: that of the main level, if it is open
        already: if it were opened twice, one of the two would keep a file that was rotated away.
        """
        self._distrusts = distrusted is not None
        self._open_file = partial(open_for_appending, distrusted=distrusted)
        self._configuration = configuration
        self._read_wall = read_wall
        self._own: dict[Targets, ErrorLog] = {}
        with blaming(configuration, "error_log"):
            self.main = main or self._open(configuration.error_log)
        self._lost_before = self.main.lost  # by the master, which has opened it
        for server in configuration.servers:
            for location in server.each_location():
                with blaming(location, "error_log"):
                    self.log_of(location)

    def _open(self, lines: Targets) -> ErrorLog:
        configuration = self._configuration
        targets = configuration.log_targets(lines)
        return ErrorLog(targets, self._read_wall, self._open_file, connect=connect_to_syslog, name=configuration.identity.name)

    def log_of(self, location: Location) -> ErrorLog:
        """Return the log for lines about requests of this location."""
        lines = location.error_log
        if not lines:
            return self.main
        log = self._own.get(lines)
        if log is None:
            try:
                log = self._own[lines] = self._open(lines)
            except OSError as error:
                if not self._distrusts:
                    raise
                # A worker that was broken into must not keep its successors from serving (see AccessLogs).
                text = f'open() "{error.filename}" failed ({error.errno}: {error.strerror}), its lines come here'
                self.main.write("emerg", text)
                return self.main
        return log

    @property
    def lost(self) -> int:
        """The number of lines that this worker has lost."""
        return self.main.lost - self._lost_before + sum(log.lost for log in self._own.values())

    def reopen(self) -> None:
        """Open all files by their names again. Raises OSError: the logs that failed stay as they were."""
        failure: OSError | None = None
        for log in (self.main, *self._own.values()):
            try:
                log.reopen()
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Close all files."""
        for log in (self.main, *self._own.values()):
            log.close()


def announcer(debugged: tuple[DebugConnection, ...], log: ErrorLog) -> Callable[[bytes, int, int, int], None] | None:
    """Return a function that reports a new connection (address, port, descriptor, serial) at debug; None if no log wants it.

    debugged: clients that are reported in every log, whatever its level (debug_connection).
    """
    if not log.logs("debug") and not debugged:
        return None

    def announce(address: bytes, port: int, fileno: int, serial: int) -> None:
        where = f"{address.decode('latin-1')}:{port}" if port else "unix:"
        log.write("debug", f"accept: {where} fd:{fileno}", serial, any(clients.has(address) for clients in debugged))

    return announce


def log_request(request: Request, level: str, text: str, setting: str = "", code: str = "") -> None:
    """Log a line about a request, ending with the details that nginx adds to every such line (proxy.md §4.3).

    As in nginx, the last upstream that was tried is named from then on, whatever the line is about.

    setting: the timer or limit that was reached, as `Settings.described` returns it; it comes last, so that tools for nginx's
    lines find the parts they look for. code: the word of `wproxy.end_causes`, where the line tells of one.
    """
    client = request.client
    route: Route | None = getattr(request, "route", None)
    if route is None:  # a request has none before its server is found
        assert client.listener.servers.default is not None
        route = client.listener.servers.default.locations.fallback.route
    log = route.log
    if not log.logs(level):
        return
    server = request.server.name if hasattr(request, "server") else ""
    details = details_of(request, server, setting, code) if log.has_json else None
    parts = [
        text,
        f"client: {client.remote_addr.decode('latin-1')}",
        f"server: {server}",
        f'request: "{shown(request.line.line)}"',
    ]
    if request.main is not None:
        parts.append(f'subrequest: "{shown(request.path)}"')
    if request.attempts:
        parts.append(f'upstream: "{shown(request.attempts[-1].url)}"')
    host = request.fields.get(b"host")
    if host:
        parts.append(f'host: "{shown(host)}"')
    referer = request.fields.get(b"referer")
    if referer:
        parts.append(f'referrer: "{shown(referer)}"')
    log.write(level, ", ".join(parts) + setting, client.serial, message=text, details=details)


def log_end(request: Request, level: str, text: str, code: str) -> None:
    """Log why a request does not end well, and note that as its end cause. code: a word of `wproxy.end_causes`."""
    log_request(request, level, text, code=code)
    request.ends(code, text)


def details_of(request: Request, server: str, setting: str, code: str) -> dict[str, object]:
    """Return what an error log as JSON shows of a request, by name; empty values are left out."""
    host, referer = request.fields.get(b"host"), request.fields.get(b"referer")
    context = request.trace_context
    blamed = {"name": setting.name, "value": setting.value, "at": setting.at} if isinstance(setting, Described) else None
    return {
        "client": as_text(request.client.remote_addr),
        "server": server,
        "request": as_text(request.line.line),
        "subrequest": as_text(request.path) if request.main is not None else None,
        "upstream": as_text(request.attempts[-1].url) if request.attempts else None,
        "host": as_text(host or b""),
        "referrer": as_text(referer or b""),
        "code": code,
        "setting": blamed,
        "request_id": as_text(request_id(request) or b""),
        "trace_id": None if context is None else as_text(context.trace_id),
    }


def as_text(value: bytes) -> str:
    """Return bytes of a request as text."""
    return value.decode("utf-8", "replace")
