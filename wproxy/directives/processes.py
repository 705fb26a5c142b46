"""Resources and placement of a worker process (nginx: src/core/nginx.c), and how long it may hang."""

from __future__ import annotations

import re

from wproxy.config.registry import MAIN, OWN_GATHER, directive
from wproxy.directives.values import number, size, time

# A CPU mask has a bit for each CPU that the kernel's interface supports (CPU_SETSIZE).
MOST_CPUS = 1024
_NAME = re.compile(r"[^=]+")


def priority(value: str) -> int:
    """Return a niceness; the kernel limits it to -20..19."""
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError('"%s" directive invalid number')
    return int(value)


def cpu_mask(value: str) -> frozenset[int]:
    """Return the numbers of the CPUs whose bits are set in `0101`, the last bit being CPU 0."""
    for character in value:
        if character not in "01 ":
            raise ValueError(f'invalid character "{character}" in "worker_cpu_affinity"')
    bits = value.replace(" ", "")
    if len(bits) > MOST_CPUS:
        raise ValueError(f'"worker_cpu_affinity" supports up to {MOST_CPUS} CPUs only')
    return frozenset(cpu for cpu, bit in enumerate(reversed(bits)) if bit == "1")


class CpuAffinity(tuple[frozenset[int], ...]):
    """The CPUs of each worker, one set for each worker_cpu_affinity mask; with `auto` one set to be dealt out.

    is_auto: whether the set is dealt out, worker i getting the i-th CPU; an empty set then stands for all CPUs.
    """

    is_auto: bool

    def of(self, index: int, available: frozenset[int]) -> frozenset[int]:
        """Return the CPUs of that worker; the last mask serves all workers without one of their own (nginx:
        ngx_get_cpu_affinity).
        """
        if not self.is_auto:
            return self[min(index, len(self) - 1)]
        cpus = sorted(self[0] or available)
        return frozenset((cpus[index % len(cpus)],)) if cpus else frozenset()


def cpu_affinity(*masks: str) -> CpuAffinity:
    """Read `auto [MASK]`, or a mask for each worker."""
    is_auto = masks[0] == "auto"
    if is_auto and len(masks) > 2:
        raise ValueError('invalid number of arguments in "%s" directive')
    given = masks[1:] if is_auto else masks
    affinity = CpuAffinity([cpu_mask(mask) for mask in given] or [frozenset()])
    affinity.is_auto = is_auto
    return affinity


def watchdog(value: str) -> float:
    """Return seconds; 0 for `off`. Workers have a pulse twice a second, so less than one second would blame healthy ones."""
    seconds = 0.0 if value == "off" else time(value)
    if seconds < 1 and value != "off":
        raise ValueError('"%s" directive must be at least 1s, or off')
    return seconds


def environment_variable(value: str) -> tuple[str, str | None]:
    """Return (name, its value; None for an inherited one)."""
    name, equals, content = value.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError(f'invalid value "{value}" in "%s" directive')
    return name, content if equals else None


class ProcessDirectives:
    """Top level."""

    worker_watchdog: float = directive(
        watchdog,
        MAIN,
        default="30s",
        doc="How long a worker's loop may stand still before it counts as hung: its stack is logged and it is replaced; or off.",
    )
    worker_rlimit_nofile: int | None = directive(
        number(), MAIN, doc="The most descriptors that a worker may have open; by default as many as the master."
    )
    worker_rlimit_core: int | None = directive(size, MAIN, doc="The largest core file of a worker, in bytes.")
    worker_priority: int | None = directive(priority, MAIN, doc="The niceness of workers: negative ones are served first.")
    worker_cpu_affinity: CpuAffinity | None = directive(
        cpu_affinity,
        MAIN,
        arity=(1, 1000),
        doc="The CPUs of each worker, as masks; auto [mask] gives each worker a CPU of its own.",
    )
    working_directory: str | None = directive(
        str, MAIN, doc="The working directory of workers, where their core files would be written."
    )
    env: tuple[tuple[str, str | None], ...] = directive(
        environment_variable,
        MAIN,
        inherit=OWN_GATHER,
        doc="An environment variable that workers and a new binary keep, or get as NAME=VALUE; they always keep TZ.",
    )
