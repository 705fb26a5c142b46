"""`python -m bench [workload ...]`: compare wproxy with nginx and HAProxy, and print the results."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from bench.contestants import Contestant, haproxy, is_compiled, is_pgo, nginx, wproxy
from bench.cores import choose_cores
from bench.documents import write_documents
from bench.failure import BenchFailure
from bench.machine import describe
from bench.report import as_json, full_report, results_of
from bench.rounds import Round, Setting, run_rounds
from bench.servers import backend, php_fpm, php_fpm_program, streams
from bench.workloads import ALIASES, WORKLOADS


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare wproxy with nginx and HAProxy.")
    parser.add_argument("workload", nargs="*", help=f"one or more of {', '.join((*WORKLOADS, *ALIASES))}; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="fresh starts of all contestants (7)")
    parser.add_argument("--seconds", type=int, default=1, help="length of one turn; each has two in a round (1)")
    parser.add_argument("--quick", action="store_true", help="2 rounds, few idle connections: check that it runs at all")
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file")
    parser.add_argument("--python", metavar="PATH", default=sys.executable, help="the interpreter of wproxy (this one)")
    parser.add_argument("--compiled", metavar="TREE", help="also the compiled wproxy in this directory")
    parser.add_argument("--nginx", metavar="PATH", help="also this nginx, beside the one of the machine")
    parser.add_argument("--no-haproxy", action="store_true", help="leave HAProxy out, though it is installed")
    parser.add_argument("--baseline", metavar="NAME", help="the contestant that the others are divided by (nginx)")
    parser.add_argument(
        "--write-docs", metavar="FILE", nargs="+", help="measure nothing: write docs/performance.* from such files"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--noise", action="store_true", help="nginx against itself: the error of the harness alone")
    other.add_argument("--against", metavar="TREE", help="instead of nginx, the wproxy of another source tree")
    other.add_argument("--beside", metavar="WORKLOAD", help="instead of nginx, wproxy itself under this workload")
    options = parser.parse_args(arguments)
    options.workload = list(dict.fromkeys(ALIASES.get(name, name) for name in options.workload))
    if options.beside is not None:
        options.beside = ALIASES.get(options.beside, options.beside)
    for name in (*options.workload, *([options.beside] if options.beside is not None else [])):
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}: choose from {', '.join(WORKLOADS)}")
    if options.quick:
        options.rounds, options.seconds = 2, 1
    if options.rounds < 1 or options.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return options


def choose_contestants(options: argparse.Namespace) -> list[Contestant]:
    """Return the contestants; the others are divided by the one named by `choose_baseline`."""
    if options.noise:
        return [nginx("nginx-a"), nginx("nginx-b")]
    ours = wproxy("wproxy", options.python)
    if options.against:
        return [ours, wproxy("other", options.python, options.against)]
    if options.beside:
        return [ours, wproxy(options.beside, options.python)]
    found = [nginx("nginx"), ours]
    if options.compiled:
        found.append(wproxy("compiled", options.python, options.compiled))
        if not is_compiled(found[-1]):
            raise BenchFailure(f"the wproxy in {options.compiled} is not compiled")
    if options.nginx:
        other = nginx("", options.nginx)
        found.append(dataclasses.replace(other, name=other.identity().replace(" ", "-")))
    if not options.no_haproxy:
        if third := haproxy():
            found.append(third)
        else:
            tell("HAProxy is not installed (haproxy): left out")
    return found


def choose_baseline(options: argparse.Namespace, contestants: Sequence[Contestant]) -> str:
    """Return the name of the contestant that the others are divided by."""
    names = [contestant.name for contestant in contestants]
    name = options.baseline or ("nginx" if "nginx" in names else names[-1])
    if name not in names:
        raise BenchFailure(f"no contestant {name!r}: there are {', '.join(names)}")
    return str(name)


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
    if options.write_docs:
        for path in write_documents(options.write_docs):
            tell(f"written: {path}")
        return
    contestants = choose_contestants(options)
    baseline = choose_baseline(options, contestants)
    machine = describe(contestants, options.rounds, options.seconds)
    for name, identity in machine["contestants"].items():
        tell(f"{name}: {identity}")
    if any(contestant.kind == "wproxy" and not is_pgo(contestant.program) for contestant in contestants):
        tell("an interpreter without PGO costs 5 to 11 % more: --python /usr/bin/python3, or a distribution's in a venv")
    cores = choose_cores()
    rounds: dict[str, list[Round]] = {}
    failures: list[str] = []
    chosen = options.workload or all_workloads()
    needs_php = any(WORKLOADS[name].needs_php for name in chosen)
    with (
        tempfile.TemporaryDirectory(prefix="wproxy-bench-") as folder,
        backend(os.path.join(folder, "backend"), cores.load) as application,
        streams(os.path.join(folder, "streams"), cores.load) as streaming,
        php_fpm(os.path.join(folder, "php"), cores.load) if needs_php else nullcontext(),
    ):
        ports = application.port, streaming.port
        setting = Setting(folder, *ports, cores, options.rounds, options.seconds, options.quick)
        for name in chosen:
            able = [contestant for contestant in contestants if contestant.can_do(WORKLOADS[name])]
            workloads = [WORKLOADS[contestant.name if contestant.name == options.beside else name] for contestant in able]
            try:
                rounds[name] = run_rounds(able, workloads, setting, tell)
            except BenchFailure as failure:  # the others are worth something all the same
                failures.append(name)
                tell(f"bench: {failure}")
                continue
            if options.json:  # after each workload: what has been measured is kept if the next one fails
                with open(options.json, "w", encoding="utf-8") as file:
                    file.write(as_json([contestant.name for contestant in contestants], baseline, rounds, machine) + "\n")
    names = [contestant.name for contestant in contestants]
    if rounds:
        print(full_report(names, baseline, results_of(rounds, baseline), machine), flush=True)
    if failures:
        raise BenchFailure(f"nothing was measured of {', '.join(failures)}")


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
