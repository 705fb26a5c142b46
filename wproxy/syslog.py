"""Syslog for logs: the parameters of `syslog:server=...`, and messages in the form of RFC 3164 (nginx: src/core/ngx_syslog.c).

    <190>Nov 22 19:17:49 host nginx: the line

Each line is one datagram to a connected socket that never blocks: a line that it does not take at once is lost, and counted.
`Connect` makes the socket, because this package opens none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from wproxy.address import Address, parse_address
from wproxy.http import MONTHS

PREFIX = "syslog:"
PORT = 514
# nginx: facilities[] and severities[]; the index of a word is its number.
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp", "audit"),
    *("alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
SEVERITIES = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
LONGEST_TAG = 32

# A function that returns the descriptor of a non-blocking datagram socket connected to an address; raises OSError.
Connect = Callable[[Address], int]


@dataclass(slots=True, eq=False)
class Syslog:
    """One `syslog:...`. tag: None for the name of the program. severity: for access logs; errors have that of their level.

    server is a name until `resolve` has looked it up.
    """

    server: Address
    facility: int = FACILITIES.index("local7")
    severity: int = SEVERITIES.index("info")
    tag: str | None = None
    hostname: bool = True

    def __repr__(self) -> str:
        return f"<syslog {self.server}>"


def parse_syslog(text: str) -> Syslog:
    """Read `syslog:server=ADDRESS[,facility=F][,tag=T][,severity=S][,nohostname]`; raises ValueError with nginx's words."""
    found: dict[str, str] = {}
    hostname = True
    for parameter in text.removeprefix(PREFIX).split(","):
        name, equals, value = parameter.partition("=")
        if parameter == "nohostname":
            hostname = False
        elif not equals or name not in _PARAMETERS:
            raise ValueError(f'unknown syslog parameter "{parameter}"')
        elif name in found:
            raise ValueError(f'duplicate syslog "{name}"')
        else:
            _PARAMETERS[name](value)
            found[name] = value
    if "server" not in found:
        raise ValueError("no syslog server specified")
    syslog = Syslog(_server(found["server"]), tag=found.get("tag"), hostname=hostname)
    if "facility" in found:
        syslog.facility = FACILITIES.index(found["facility"])
    if "severity" in found:
        syslog.severity = SEVERITIES.index(found["severity"])
    return syslog


def _server(value: str) -> Address:
    try:
        return parse_address(value, PORT)
    except ValueError as error:
        raise ValueError(f'{str(error).partition(" in ")[0]} in syslog server "{value}"') from None


def _facility(value: str) -> None:
    if value not in FACILITIES:
        raise ValueError(f'unknown syslog facility "{value}"')


def _severity(value: str) -> None:
    if value not in SEVERITIES:
        raise ValueError(f'unknown syslog severity "{value}"')


def _tag(value: str) -> None:
    if len(value) > LONGEST_TAG:
        raise ValueError(f"syslog tag length exceeds {LONGEST_TAG}")
    if not all(character.isascii() and (character.isalnum() or character == "_") for character in value):
        raise ValueError('syslog "tag" only allows alphanumeric characters and underscore')


_PARAMETERS: dict[str, Callable[[str], object]] = {"server": _server, "facility": _facility, "severity": _severity, "tag": _tag}


def syslog_time(second: int) -> str:
    """Return `Nov  2 19:17:49`, local time."""
    at = time.localtime(second)
    return f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"


class SyslogSender:
    """Sends lines to one syslog server.

    lost: lines that did not go out; failure: why the last of them did not. The code that reports them sets `lost` to 0.
    """

    __slots__ = ("_connect", "_facility", "_fileno", "_head", "_origin", "_second", "_syslog", "failure", "lost")

    def __init__(self, syslog: Syslog, name: str, connect: Connect) -> None:
        """name: the tag when none was given."""
        self._syslog = syslog
        self._connect = connect
        self._fileno = -1
        self._facility = syslog.facility * 8
        tag = name if syslog.tag is None else syslog.tag
        self._origin = f" {os.uname().nodename.lower()} {tag}: " if syslog.hostname else f" {tag}: "
        self._second = -1
        self._head = b""
        self.lost = 0
        self.failure: OSError | None = None

    @property
    def title(self) -> str:
        """The name of the failed operation, for a line of the error log."""
        return f'send() to syslog server "{self._syslog.server}"'

    def send(self, severity: int, line: bytes, second: int) -> None:
        """Send a line (without line end) with a severity and a unix time."""
        if second != self._second:
            self._second = second
            self._head = f"{syslog_time(second)}{self._origin}".encode("utf-8", "surrogateescape")
        message = b"<%d>%b%b" % (self._facility + severity, self._head, line)
        was_open = self._fileno >= 0
        try:
            self._write(message)
        except BlockingIOError as error:
            self._lose(error)
        except OSError as error:
            # The error may be about an earlier datagram, or the server may have been restarted: try once more from the beginning.
            self.close()
            if not was_open:
                self._lose(error)
                return
            try:
                self._write(message)
            except OSError as again:
                self._lose(again)

    def _write(self, message: bytes) -> None:
        if self._fileno < 0:
            self._fileno = self._connect(self._syslog.server)
        os.write(self._fileno, message)

    def _lose(self, error: OSError) -> None:
        self.lost += 1
        self.failure = error

    def close(self) -> None:
        """Close the socket; the next line opens another."""
        if self._fileno >= 0:
            os.close(self._fileno)
            self._fileno = -1

    def __repr__(self) -> str:
        return f"<to {self._syslog} lost={self.lost}>"
