"""The access log (nginx: src/http/modules/ngx_http_log_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, OWN_GATHER, SERVER, directive
from wproxy.template import parse_pieces

COMBINED = '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'


class AccessLog(NamedTuple):
    """One `access_log` line: a path ("off": none, "stdout": standard output) and the name of its format."""

    path: str
    format: str = "combined"


class LogFormat(NamedTuple):
    """One `log_format`: its name, how values are escaped and its text."""

    name: str
    escape: str
    text: str


def access_log(path: str, name: str = "combined") -> AccessLog:
    """`access_log PATH [FORMAT]`."""
    if path.startswith("syslog:"):
        raise ValueError('"syslog:" in "%s" directive is not supported yet')
    if "$" in path:
        raise ValueError('a variable in the path of "%s" directive is not supported yet')
    return AccessLog(path, name)


def log_format(name: str, *pieces: str) -> LogFormat:
    """`log_format NAME [escape=default|json|none] TEXT...`: the pieces of text are one."""
    escape = "default"
    if pieces and pieces[0].startswith("escape="):
        escape = pieces[0][7:]
        pieces = pieces[1:]
        if escape not in ("default", "json", "none"):
            raise ValueError(f'unknown log format escaping "{escape}"')
    if not pieces:
        raise ValueError(f'the log format "{name}" has no text')
    text = "".join(pieces)
    parse_pieces(text)  # raises for a variable that there is not; workers compile it
    return LogFormat(name, escape, text)


class LogDirectives:
    """What is logged, where and how."""

    access_log: tuple[AccessLog, ...] = directive(
        access_log,
        HTTP | SERVER | LOCATION | LOCATION_IF | LIMIT_EXCEPT,
        arity=(1, 2),
        default="logs/access.log",
        inherit=GATHER,
        named=True,
        doc="Where requests are logged and in which log_format; off is nowhere.",
    )
    log_format: tuple[LogFormat, ...] = directive(
        log_format, HTTP, arity=(2, 1000), inherit=OWN_GATHER, named=True, doc="A format for access_log: text with variables."
    )
