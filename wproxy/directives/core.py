"""Process directives: those outside `http` (nginx: src/core/nginx.c, src/event/ngx_event.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.low_bits import low_bits
from wproxy.config.registry import EVENTS, GATHER, HTTP, LOCATION, MAIN, OWN, OWN_GATHER, SERVER, directive
from wproxy.directives.values import flag, number, time
from wproxy.log_files import AsJson, Place
from wproxy.maps.addresses import Network, parse_ip, parse_network
from wproxy.syslog import PREFIX, Syslog, parse_syslog

LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")
JSON_WORDS = ("json", "format=json")
DEBUG_PARTS = tuple(f"debug_{part}" for part in ("core", "alloc", "mutex", "event", "http", "mail", "stream"))


def worker_count(value: str) -> int | None:
    """Return a number of processes, 0 for a master alone; None for `auto`: one per core."""
    if value == "auto":
        return None
    try:
        return number(0, 512)(value)
    except ValueError:
        if value.isascii() and value.isdigit():
            raise
        raise ValueError('"%s" directive invalid value') from None


def log_target(target: str, *words: str) -> tuple[Place, str]:
    """Return (path, "stderr", a Syslog, or AsJson of one; the level); the debug levels of nginx's subsystems are debug here.

    The last word may be `json` or `format=json`.
    """
    levels, is_json = (words[:-1], True) if words and words[-1] in JSON_WORDS else (words, False)
    place: str | Syslog = target
    if target.startswith(PREFIX):
        place = parse_syslog(target)
    elif target.startswith("memory:"):
        raise ValueError('"memory:" in "%s" directive is not supported')
    elif target in LEVELS:
        raise ValueError(f'"{target}" in "%s" directive is a level, not a file: write {{ "FILE" = "{target}" }}')
    level = ""
    for word in levels:
        is_part = word in DEBUG_PARTS
        if not is_part and word not in LEVELS:
            raise ValueError(f'invalid log level "{word}"')
        if level and not (is_part and level in DEBUG_PARTS):
            raise ValueError(f'duplicate log level "{word}"')
        level = word
    return AsJson(place) if is_json else place, "debug" if level in DEBUG_PARTS else level or "error"


def user_and_group(user: str, group: str = "") -> tuple[str, str]:
    """Return (user, group); the group is empty for the user's own."""
    return user, group


def nothing(*arguments: str) -> None:
    """Read nothing: `resolve` reads the contents of blocks."""


def pid_path(path: str) -> str:
    """Return a path; empty for `off`."""
    return "" if path == "off" else path


class DebugConnection(NamedTuple):
    """Clients that `debug_connection` names: a network, or those of unix sockets."""

    network: Network | None

    def has(self, address: bytes) -> bool:
        """Whether it names the client of that address; `unix:` for a unix socket."""
        if self.network is None:
            return address == b"unix:"
        number = parse_ip(address)
        return number is not None and self.network.holds(number)


def debug_connection(clients: str) -> DebugConnection:
    """Return an address, a network or `unix:`."""
    if clients == "unix:":
        return DebugConnection(None)
    try:
        return DebugConnection(parse_network(clients)[0])
    except ValueError:
        raise ValueError(f'invalid address or network "{clients}" in "%s" directive') from None


def defaults_of(version: str) -> str:
    """Return the nginx version whose defaults apply (wproxy.config.compat)."""
    if version not in ("current", "1.28"):
        raise ValueError(f'invalid value "{version}"')
    return version


class MainDirectives:
    """Top level."""

    worker_processes: int | None = directive(worker_count, MAIN, default="1", doc="The number of workers; auto is one per core.")
    daemon: bool = directive(flag, MAIN, default="on", doc="Whether to run in the background.")
    master_process: bool = directive(
        flag,
        MAIN,
        default="on",
        doc="Whether there are workers; off: one process does everything, with its own rights, for debugging.",
    )
    pid: str = directive(pid_path, MAIN, default="run/wproxy.pid", doc="The file that holds the master's process id.")
    user: tuple[str, str] | None = directive(
        user_and_group,
        MAIN,
        arity=(1, 2),
        doc="The user and group of the workers if the master is started as root; default nobody.",
    )
    compat: str = directive(
        defaults_of, MAIN, default="current", doc="The nginx version whose defaults apply: today's, or 1.28's."
    )
    worker_shutdown_timeout: float | None = directive(
        time, MAIN, doc="How long a worker told to quit may take to finish its requests; no limit unless set."
    )
    error_log: tuple[tuple[Place, str], ...] = directive(
        log_target,
        MAIN | HTTP | SERVER | LOCATION,
        arity=(1, 1000),
        default="logs/error.log",
        inherit=GATHER,
        named=True,
        doc="Where errors are logged (a file, stderr or syslog:server=ADDRESS), from which level on, and whether as json.",
    )
    api_socket: str = directive(
        pid_path,
        MAIN,
        default="run/wproxy-api.sock",
        doc="The unix socket of the API, for the master's user only, when there are upstreams; off: none.",
    )
    events: None = directive(nothing, MAIN, arity=0, inherit=OWN, block=EVENTS, doc="Connection processing.")
    http: None = directive(nothing, MAIN, arity=0, inherit=OWN, block=HTTP, doc="The block for everything about HTTP.")


class EventsDirectives:
    """Inside `events`."""

    worker_connections: int = directive(
        number(1), EVENTS, default="1024", doc="How many connections, client and upstream, a worker may have open."
    )
    accept_mutex_delay: float = directive(
        time, EVENTS, default="500ms", doc="How long accepting pauses when descriptors or memory have run out."
    )
    debug_connection: tuple[DebugConnection, ...] = directive(
        debug_connection,
        EVENTS,
        inherit=OWN_GATHER,
        warns=low_bits,
        doc="Clients whose connections are logged in every error log, at debug.",
    )
