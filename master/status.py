"""`wproxy status`: the shared memory and /proc about a running master, as a table for people or JSON for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from master.control import CannotControl, Running
from wproxy.shared import (
    HEAD_ACCEPTED,
    HEAD_ATTEMPTS,
    HEAD_GENERATION,
    HEAD_NEW_BINARY,
    HEAD_OUTCOME,
    HEAD_PREDECESSOR,
    HEAD_RELOADED,
    HEAD_REQUESTS,
    HEAD_STARTED,
    ROLE_NAMES,
    WORKER_ACCEPTED,
    WORKER_ACTIVE,
    WORKER_GENERATION,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REQUESTS,
    WORKER_ROLE,
    WORKER_ROLE_NAME,
    WORKER_STARTED,
    WORKER_STATE,
    WORKER_WAITING,
    SharedWords,
    state_name,
)
from wproxy.shown_certificates import ShownCertificate
from wproxy.version import VERSION

CountPeers = Callable[[], dict[str, dict[str, int]]]
FindCertificates = Callable[[float], list[ShownCertificate]]
CPU_INTERVAL = 0.15  # seconds over which the use of the CPU is measured


@dataclass(slots=True)
class WorkerStatus:
    """One worker of that master. uptime: seconds; rss: bytes; cpu: percent of a core; active, waiting: client connections.

    role: "worker", or another task of the process for the master, such as "cache manager".
    """

    pid: int
    role: str
    master: int
    generation: int
    state: str
    uptime: int
    rss: int
    cpu: float
    active: int
    waiting: int
    accepted: int
    requests: int


@dataclass(slots=True)
class Status:
    """A master and its workers. Times are unix seconds; accepted and requests include workers that are gone.

    configuration_changed: whether the file was written after the serving generation was loaded; None: unknown. other_master: the
    one that an upgrade has put beside it, 0 when there is none; its workers are among the workers. last_reload: "" before the
    first, else its message; rss and cpu are sums over master and workers. upstreams: for each name the number of peers in each
    state; empty when the API could not be asked. certificates: those of the servers in the configuration file.
    """

    version: str
    pid: int
    other_master: int
    started: int
    uptime: int
    generation: int
    loaded: int
    configuration: str
    configuration_changed: bool | None
    last_reload: str
    last_reload_serves: bool
    rss: int
    cpu: float
    active: int
    accepted: int
    requests: int
    workers: list[WorkerStatus] = field(default_factory=list)
    upstreams: dict[str, dict[str, int]] = field(default_factory=dict)
    certificates: list[ShownCertificate] = field(default_factory=list)


def status(
    pid_path: str,
    as_json: bool = False,
    configuration_file: str = "",
    count_peers: CountPeers = dict,
    find_certificates: FindCertificates = lambda now: [],
) -> int:
    """Print the status of the master that the pid file names; return the exit code.

    configuration_file: the path of the main file, to tell whether it was changed since it was loaded. count_peers: asks the
    workers for `Status.upstreams`. find_certificates: reads `Status.certificates`, given the present time.
    """
    try:
        with Running(pid_path) as master:
            found = read_status(master.pid, master.memory.shared, configuration_file)
            found.upstreams = count_peers()
            found.certificates = find_certificates(time.time())
    except CannotControl as error:
        sys.stderr.write(f"wproxy: [error] {error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n" if as_json else as_table(found))
    return 0


def read_status(pid: int, shared: SharedWords, configuration_file: str = "") -> Status:
    """Collect everything that can be known; takes CPU_INTERVAL seconds."""
    now = int(time.time())
    # A slot may be cleared and reused while we look: its content belongs to the pid that it had first.
    slots = {slot.get(WORKER_PID): slot for slot in shared.workers()}
    slots.pop(0, None)
    use = measure([pid, *slots])
    workers = [
        WorkerStatus(
            pid=worker,
            role=_role_name(slot.get(WORKER_ROLE)),
            master=slot.get(WORKER_MASTER),
            generation=slot.get(WORKER_GENERATION),
            state=state_name(slot.get(WORKER_STATE)),
            uptime=max(0, now - slot.get(WORKER_STARTED)),
            rss=use[worker][0],
            cpu=use[worker][1],
            active=slot.get(WORKER_ACTIVE),
            waiting=slot.get(WORKER_WAITING),
            accepted=slot.get(WORKER_ACCEPTED),
            requests=slot.get(WORKER_REQUESTS),
        )
        for worker, slot in slots.items()
        if slot.get(WORKER_PID) == worker
    ]
    # Nothing has happened in the future, whatever the words say: `wproxy.shared` explains who may have written them.
    loaded, started = (min(shared.head(word), now) for word in (HEAD_RELOADED, HEAD_STARTED))
    return Status(
        version=VERSION,
        pid=pid,
        other_master=shared.head(HEAD_NEW_BINARY) or shared.head(HEAD_PREDECESSOR),
        started=started,
        uptime=now - started,
        generation=shared.head(HEAD_GENERATION),
        loaded=loaded,
        configuration=configuration_file,
        configuration_changed=_changed_since(configuration_file, loaded),
        last_reload=shared.message() if shared.head(HEAD_ATTEMPTS) else "",
        last_reload_serves=bool(shared.head(HEAD_OUTCOME)),
        rss=sum(rss for rss, _ in use.values()),
        cpu=round(sum(cpu for _, cpu in use.values()), 1),
        active=sum(worker.active for worker in workers),
        accepted=shared.total(HEAD_ACCEPTED) + sum(worker.accepted for worker in workers),
        requests=shared.total(HEAD_REQUESTS) + sum(worker.requests for worker in workers),
        workers=workers,
    )


def measure(pids: list[int]) -> dict[int, tuple[int, float]]:
    """Return (resident bytes, percent of a core) by pid; zeros for a process that is gone."""
    import psutil  # 15 ms, needed only for this command

    processes = {}
    for pid in pids:
        try:
            processes[pid] = psutil.Process(pid)
            processes[pid].cpu_percent()  # the first call starts the clock
        except (psutil.NoSuchProcess, OverflowError):  # the number is too large
            processes.pop(pid, None)
    time.sleep(CPU_INTERVAL)
    use = dict.fromkeys(pids, (0, 0.0))
    for pid, process in processes.items():
        try:
            use[pid] = (process.memory_info().rss, process.cpu_percent())
        except psutil.NoSuchProcess:
            pass
    return use


def as_table(found: Status) -> str:
    """Return the form for people."""
    lines = [
        f"wproxy {found.version}, master process {found.pid}, up {as_duration(found.uptime)}",
        f"generation {found.generation}, loaded {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(found.loaded))}",
    ]
    if found.configuration:
        changed = " (changed since it was loaded)" if found.configuration_changed else ""
        lines.append(f"configuration {found.configuration}{changed}")
    if found.other_master:
        lines.append(f"an upgrade is under way: the master process {found.other_master} runs beside it")
    if found.last_reload and not found.last_reload_serves:
        lines += ["last reload failed:"] + [f"  {line}" for line in found.last_reload.splitlines()]
    rows: list[tuple[str, ...]] = [("WORKER", "GEN", "STATE", "UPTIME", "RSS", "CPU", "ACTIVE", "REQUESTS")]
    rows += [
        (
            str(worker.pid) if worker.role == WORKER_ROLE_NAME else f"{worker.pid} {worker.role}",
            str(worker.generation),
            worker.state,
            as_duration(worker.uptime),
            as_megabytes(worker.rss),
            f"{worker.cpu:.1f}%",
            str(worker.active),
            str(worker.requests),
        )
        for worker in found.workers
    ]
    total = (as_megabytes(found.rss), f"{found.cpu:.1f}%", str(found.active), str(found.requests))
    rows.append(("total", "", "", "", *total))
    lines += ["", *columns(rows)]
    if found.upstreams:
        rows = [("UPSTREAM", "PEERS")]
        for name, counts in found.upstreams.items():
            rows.append((name, ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"))
        lines += ["", *columns(rows), "each peer: wproxy upstream list"]
    if found.certificates:
        rows = [("CERTIFICATE", "NAMES", "EXPIRES", "LEFT")]
        rows += [_certificate_row(certificate, found.loaded) for certificate in found.certificates]
        lines += ["", *columns(rows)]
    return "\n".join(lines) + "\n"


def _certificate_row(certificate: ShownCertificate, loaded: int) -> tuple[str, ...]:
    if certificate.problem:
        return (certificate.file, certificate.problem, "", "")
    # The one that is served was read when the configuration was loaded.
    left = certificate.shown_days + (" (changed since it was loaded)" if certificate.modified > loaded else "")
    return (certificate.file, certificate.shown_names, certificate.expires[:10], left)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def as_duration(seconds: int) -> str:
    """Return `3d 4h`, `4h 5m`, `5m 6s` or `6s`: the two largest units."""
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{number}{unit}" for number, unit in parts[:2])


def as_megabytes(count: int) -> str:
    """Return `12.3M` for a number of bytes."""
    return f"{count / 1048576:.1f}M"


def _role_name(role: int) -> str:
    return ROLE_NAMES[role] if role < len(ROLE_NAMES) else str(role)


def _changed_since(path: str, loaded: int) -> bool | None:
    try:
        return int(os.stat(path).st_mtime) > loaded
    except OSError:
        return None
