"""The access log (nginx: src/http/modules/ngx_http_log_module.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, OWN_GATHER, SERVER, directive
from wproxy.directives.values import parse_time, size
from wproxy.log_files import STANDARD
from wproxy.syslog import PREFIX, Syslog, parse_syslog
from wproxy.template import Template, compile_template, parse_pieces
from wproxy.variables import Variable

COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
GZIP_BUFFER = 65536  # the buffer for gzip without a size


class AccessLog(NamedTuple):
    """One `access_log` line: a path ("off": none, "stdout": standard output) and the name of its format.

    buffer: the bytes to gather, 0 for as few as make requests fast. flush: seconds that a line may wait in that buffer, 0 for
    until it is full. gzip: the level, 0 for none. condition: the value of `if=`; lines for which it is empty or 0 are not
    written.
    place: the path when it has variables. syslog: the server, instead of a file.
    """

    path: str
    format: str = "combined"
    buffer: int = 0
    flush: float = 0.0
    gzip: int = 0
    condition: Template | None = None
    place: Template | None = None
    syslog: Syslog | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file whose name is known at load."""
        return self.path != "off" and self.path not in STANDARD and self.place is None and self.syslog is None

    @property
    def buffering(self) -> tuple[int, float, int]:
        """The parameters that two logs to one file must agree on."""
        return self.buffer, self.flush, self.gzip


class LogFormat(NamedTuple):
    """One `log_format`: its name, the escaping of values, its text and the parts of that: literal bytes and variables."""

    name: str
    escape: str
    text: str
    pieces: tuple[bytes | Variable, ...]


class LogFileCache(NamedTuple):
    """One `open_log_file_cache`.

    most: the greatest number of logs. inactive: seconds without a write after which one is closed. valid: seconds until its name
    is checked again. least: the number of writes after which it stays open.
    """

    most: int
    inactive: float = 10.0
    valid: float = 60.0
    least: int = 1


def open_log_file_cache(*words: str) -> LogFileCache | None:
    """Read `off`, or `max=NUMBER [inactive=TIME] [min_uses=NUMBER] [valid=TIME]`."""
    found: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else -1
        time = None if "ms" in value else parse_time(value)
        if name in ("max", "min_uses") and number >= 0:
            found[name] = number
        elif name in ("inactive", "valid") and time is not None:
            found[name] = time
        elif word != "off":
            raise ValueError(f'invalid "open_log_file_cache" parameter "{word}"')
    if "off" in words:
        return None
    if not found.get("max"):
        raise ValueError('"open_log_file_cache" must have "max" parameter')
    return LogFileCache(int(found["max"]), found.get("inactive", 10.0), found.get("valid", 60.0), int(found.get("min_uses", 1)))


def access_log(path: str, *arguments: str) -> AccessLog:
    """Read `access_log PATH [FORMAT [buffer=S] [flush=T] [gzip[=L]] [if=CONDITION]]`, `access_log off`."""
    if path == "off":
        if arguments:
            raise ValueError(f'invalid parameter "{arguments[0]}"')
        return AccessLog(path)
    name, parameters = (arguments[0], arguments[1:]) if arguments else ("combined", ())
    syslog = place = None
    if path.startswith(PREFIX):
        syslog = parse_syslog(path)
    elif "$" in path:
        place = compile_template(path)
    found = {"buffer": 0.0, "flush": 0.0, "gzip": 0.0}
    condition: Template | None = None
    for parameter in parameters:
        word, equals, value = parameter.partition("=")
        if parameter == "gzip":
            value, equals = "1", "="
        if not equals or (word != "if" and word not in _PARAMETERS):
            raise ValueError(f'invalid parameter "{parameter}"')
        if word == "if":
            condition = compile_template(value)
        else:
            found[word] = _PARAMETERS[word](value)
    if found["gzip"] and not found["buffer"]:
        found["buffer"] = GZIP_BUFFER
    if found["flush"] and not found["buffer"]:
        raise ValueError(f'no buffer is defined for access_log "{path}"')
    if found["buffer"] and place is not None:
        raise ValueError("buffered logs cannot have variables in name")
    if found["buffer"] and syslog is not None:
        raise ValueError("logs to syslog cannot be buffered")
    return AccessLog(path, name, int(found["buffer"]), found["flush"], int(found["gzip"]), condition, place, syslog)


def _buffer(value: str) -> float:
    try:
        wanted = size(value)
    except ValueError:
        wanted = 0
    if not wanted:
        raise ValueError(f'invalid buffer size "{value}"')
    return wanted


def _flush(value: str) -> float:
    seconds = parse_time(value, "wdhms")
    if not seconds:
        raise ValueError(f'invalid flush time "{value}"')
    return seconds


def _gzip(value: str) -> float:
    if len(value) != 1 or value not in "123456789":
        raise ValueError(f'invalid compression level "{value}"')
    return int(value)


_PARAMETERS: dict[str, Callable[[str], float]] = {"buffer": _buffer, "flush": _flush, "gzip": _gzip}


def log_format(name: str, *pieces: str) -> LogFormat:
    """Read `log_format NAME [escape=default|json|none] TEXT...`: the pieces of text are joined."""
    escape = "default"
    if pieces and pieces[0].startswith("escape="):
        escape = pieces[0][7:]
        pieces = pieces[1:]
        if escape not in ("default", "json", "none"):
            raise ValueError(f'unknown log format escaping "{escape}"')
    if not pieces:
        raise ValueError(f'the log format "{name}" has no text')
    text = "".join(pieces)
    return LogFormat(name, escape, text, tuple(parse_pieces(text, has_captures=False)))


class LogDirectives:
    """The logs of a location: their files, formats and conditions."""

    access_log: tuple[AccessLog, ...] = directive(
        access_log,
        HTTP | SERVER | LOCATION | LOCATION_IF | LIMIT_EXCEPT,
        arity=(1, 1000),
        default="logs/access.log",
        inherit=GATHER,
        named=True,
        doc="Where requests are logged and in which log_format; off: nowhere. Without buffer= lines are written within 0.1 s: "
        "gathering them for that long is part of what makes small requests fast.",
    )
    open_log_file_cache: LogFileCache | None = directive(
        open_log_file_cache,
        HTTP | SERVER | LOCATION,
        arity=(1, 4),
        default="off",
        doc="How many logs with variables in their names stay open, and for how long: max=, inactive=, min_uses=, valid=.",
    )
    log_format: tuple[LogFormat, ...] = directive(
        log_format, HTTP, arity=(2, 1000), inherit=OWN_GATHER, named=True, doc="A format for access_log: text with variables."
    )
