"""Process directives: what stands outside `http` (nginx: src/core/nginx.c, src/event/ngx_event.c)."""

from __future__ import annotations

from wproxy.config.registry import EVENTS, HTTP, MAIN, OWN, OWN_GATHER, directive
from wproxy.directives.values import flag, number, time

LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")


def worker_count(value: str) -> int:
    """A number of processes; `auto` is 0: as many as there are cores."""
    if value == "auto":
        return 0
    return number(1, 512)(value)


def log_target(target: str, level: str = "error") -> tuple[str, str]:
    """(path or "stderr", level)."""
    if target.startswith("syslog:"):
        raise ValueError('"syslog:" in "%s" directive is not supported yet')
    if target in LEVELS:
        raise ValueError(f'"{target}" in "%s" directive is a level, not a file: write {{ "FILE" = "{target}" }}')
    if level not in LEVELS:
        raise ValueError(f'invalid log level "{level}"')
    return target, level


def user_and_group(user: str, group: str = "") -> tuple[str, str]:
    """(user, group); the group is empty when the user's own is meant."""
    return user, group


def nothing(*arguments: str) -> None:
    """The reader of blocks: what they hold is read by `resolve`."""


def pid_path(path: str) -> str:
    """The path of the pid file; empty for `off`."""
    return "" if path == "off" else path


class MainDirectives:
    """Top level."""

    worker_processes: int = directive(worker_count, MAIN, default="1", doc="How many workers; auto is one per core.")
    daemon: bool = directive(flag, MAIN, default="on", doc="Whether to go to the background.")
    pid: str = directive(pid_path, MAIN, default="run/wproxy.pid", doc="The file that holds the master's process id.")
    user: tuple[str, str] | None = directive(
        user_and_group, MAIN, arity=(1, 2), doc="User and group of the workers when started as root; default nobody."
    )
    worker_shutdown_timeout: float | None = directive(
        time, MAIN, doc="How long a worker told to quit may take to finish its requests; no limit unless set."
    )
    error_log: tuple[tuple[str, str], ...] = directive(
        log_target,
        MAIN,
        arity=(1, 2),
        default="logs/error.log",
        inherit=OWN_GATHER,
        named=True,
        doc="Where errors go: a file or stderr, and from which level.",
    )
    events: None = directive(nothing, MAIN, arity=0, inherit=OWN, block=EVENTS, doc="Connection processing.")
    http: None = directive(nothing, MAIN, arity=0, inherit=OWN, block=HTTP, doc="Everything about HTTP.")


class EventsDirectives:
    """Inside `events`."""

    worker_connections: int = directive(
        number(1), EVENTS, default="1024", doc="How many connections, client and upstream, a worker may have open."
    )
