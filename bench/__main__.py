"""`python -m bench [workload ...]`: compare wproxy with nginx, and print the results."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from bench.cores import choose_cores
from bench.failure import BenchFailure
from bench.machine import describe
from bench.ratios import result_of
from bench.report import as_json, full_report
from bench.rounds import Round, Setting, run_rounds
from bench.servers import TREE, Contestant, backend, php_fpm, php_fpm_program, streams
from bench.workloads import WORKLOADS


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare wproxy with nginx.")
    parser.add_argument("workload", nargs="*", help=f"one or more of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="fresh starts of both sides (7)")
    parser.add_argument("--seconds", type=int, default=1, help="length of one turn; each side has two in a round (1)")
    parser.add_argument("--quick", action="store_true", help="2 rounds: check that it runs at all")
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--noise", action="store_true", help="nginx against itself: the error of the harness alone")
    other.add_argument("--against", metavar="TREE", help="instead of nginx, the wproxy of another source tree")
    other.add_argument("--beside", metavar="WORKLOAD", help="instead of nginx, wproxy itself under this workload")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.workload if name not in WORKLOADS]:
        parser.error(f"no workload {unknown[0]!r}: choose from {', '.join(WORKLOADS)}")
    if options.beside is not None and options.beside not in WORKLOADS:
        parser.error(f"no workload {options.beside!r}: choose from {', '.join(WORKLOADS)}")
    if options.quick:
        options.rounds, options.seconds = 2, 1
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return options


def choose_contestants(options: argparse.Namespace) -> tuple[Contestant, Contestant]:
    """Return the two contestants; ratios are first / second."""
    if options.noise:
        return Contestant("nginx-a", "nginx"), Contestant("nginx-b", "nginx")
    if options.against:
        return Contestant("wproxy", "wproxy", TREE), Contestant("other", "wproxy", os.path.abspath(options.against))
    if options.beside:
        return Contestant("wproxy", "wproxy"), Contestant(options.beside, "wproxy")
    return Contestant("wproxy", "wproxy"), Contestant("nginx", "nginx")


def all_workloads() -> list[str]:
    """Return the names of the workloads whose load can be made here."""
    missing = shutil.which("h2load") is None
    if missing:
        tell("h2load is not installed (nghttp2-client): no workloads over HTTP/2")
    lacks_php = php_fpm_program() is None
    if lacks_php:
        tell("PHP-FPM is not installed (php-fpm): no workload over FastCGI")
    return [
        name
        for name, workload in WORKLOADS.items()
        if not (missing and workload.driver == "h2load") and not (lacks_php and workload.needs_php)
    ]


def tell(line: str) -> None:
    """Report progress on standard error, so that `python -m bench > table` contains only the table."""
    print(line, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    contestants = choose_contestants(options)
    names = (contestants[0].name, contestants[1].name)
    cores = choose_cores()
    rounds: dict[str, list[Round]] = {}
    chosen = options.workload or all_workloads()
    needs_php = any(WORKLOADS[name].needs_php for name in chosen)
    with (
        tempfile.TemporaryDirectory(prefix="wproxy-bench-") as folder,
        backend(os.path.join(folder, "backend"), cores.load) as application,
        streams(os.path.join(folder, "streams"), cores.load) as streaming,
        php_fpm(os.path.join(folder, "php"), cores.load) if needs_php else nullcontext(),
    ):
        setting = Setting(folder, application.port, streaming.port, cores, options.rounds, options.seconds)
        for name in chosen:
            workloads = WORKLOADS[name], WORKLOADS[options.beside or name]
            rounds[name] = run_rounds(contestants, workloads, setting, tell)
    machine = describe()
    results = {name: result_of(pairs) for name, pairs in rounds.items()}
    print(full_report(names, results, machine, options.rounds, options.seconds), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(as_json(names, rounds, machine) + "\n")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run, and turn a failure into one message and an exit code."""
    # Whatever ends us, the servers are ended first.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        run(parse_arguments(arguments))
    except BenchFailure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
