"""What a request and a connection may cost, and what they cost: the table `budgets.toml`, and the ways of counting.

Each count is made in a process of its own, by `measure.py` or `held.py`, so that it depends on nothing that ran before; hash seed and clock are
fixed. `python tests/worker/budgets/budgets.py` counts everything here and writes it into the table; `--lower` only what has become less.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE / "budgets.toml"
MEMORIES = ("idle", "idle-tls", "idle-h2", "streams-h2")
WORKLOADS = (
    "small",
    "varied",
    "post",
    "100k",
    "gzip",
    "unkept",
    "return",
    "static",
    "browsed",
    "file",
    "tunnel",
    "logged",
    "counted",
    "limited",
    "fastcgi",
    "connection",
    "tls",
    "handshake",
    "h2",
    "h2-varied",
    "h2-post",
    "grpc",
)
# Nine tenths of the instructions of a handshake are OpenSSL's, and others in another version of it; those of gzip are zlib's.
WORKLOADS_OF_OURS = tuple(name for name in WORKLOADS if name not in ("handshake", "gzip"))
# A count that differs by less is no regression: a few instructions more or less, for a line that had to be.
TOLERANCE = 1.03
PATIENCE = 300

# Waiting for events is shared by all that is ready; memory is asked for and given back once in many requests. With getpid OpenSSL
# looks whether it has been forked, and with getrandom it renews its random numbers from time to time.
NOT_COUNTED = frozenset([
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "brk", "mmap", "munmap", "madvise", "futex", "getpid", "getrandom",
])  # fmt: skip
_MARK = re.compile(r'"/wproxy/(?:name/)?([\w-]+)"')
_CALL = re.compile(r"(\w+)\(")

HEADER = """\
# What a request of each workload may cost (see test_budgets.py): a change may lower a number, or raise it with its reason in the commit.
# Written by `python tests/worker/budgets/budgets.py`, which counts again; `--lower` writes down only what has become less.
#
# system_calls: of the kernel, without waiting for events. calls: of functions, in Python. bytecodes: instructions of Python's virtual
# machine, by version. instructions: those of the processor in user space, by build. bytes: memory of an idle connection, and of a
# request under way on HTTP/2, by build, as malloc counts it: a tenth more than with Python's own allocator.
#
# Of the compiled build, instructions and bytes: `make compiled`, and the same command in build/compiled; then copy the table back.
"""


class CannotCount(Exception):
    """This machine lacks something; the message says what."""


def is_compiled() -> bool:
    """Whether wproxy's modules are native: then Python sees neither their calls nor their bytecodes."""
    import worker.loop

    return not worker.loop.__file__.endswith(".py")


def name_of_build() -> str:
    """Return the name of what executes: machine instructions are comparable only within one build."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    words = [
        f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}",
        platform.python_compiler(),
        "optimised" if optimised else "not optimised",
    ]
    return ", ".join([*words, f"wproxy compiled at level {level_of_compilation()}"] if is_compiled() else words)


def level_of_compilation() -> str:
    """Return the level of optimization at which this copy of the tree was compiled, as setup.py has written it down."""
    try:
        return (HERE.parents[2] / "build" / "compile_level").read_text("ascii")
    except FileNotFoundError:
        return "unknown"


def name_of_version() -> str:
    """Return the name of what decides over bytecodes."""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"


def run(before: list[str], *arguments: str, program: str = "measure.py", **variables: str) -> dict[str, float]:
    """Run a program that counts, under another one that watches it; return what it prints. variables: of its environment."""
    command = [*before, sys.executable, str(HERE / program), *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def count_calls() -> dict[str, float]:
    """Count calls of functions."""
    if is_compiled():
        raise CannotCount("wproxy is compiled: Python sees no calls between its functions")
    return run([], "calls")


def count_bytecodes() -> dict[str, float]:
    """Count instructions of Python's virtual machine."""
    if is_compiled():
        raise CannotCount("wproxy is compiled: it has no bytecodes")
    return run([], "bytecodes")


def count_system_calls() -> dict[str, dict[str, float]]:
    """Count what the kernel is asked for, by name."""
    if not shutil.which("strace"):
        raise CannotCount("strace is not installed")
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise CannotCount(f"strace may not trace here: {tried.stderr.strip()}")
    with tempfile.NamedTemporaryFile("r", prefix="wproxy-budgets-") as trace:
        requests = run(["strace", "-qq", "-o", trace.name], "marks")["requests"]
        return read_trace(trace.read(), requests)


def read_trace(trace: str, requests: float) -> dict[str, dict[str, float]]:
    """Return the calls between marks, by workload and name, for one of so many requests."""
    found: dict[str, Counter[str]] = {}
    counter: Counter[str] = Counter()
    working = False
    for line in trace.splitlines():
        if mark := _MARK.search(line):
            working = mark[1] == "begin"
            if mark[1] not in ("begin", "end"):
                counter = found[mark[1]] = Counter()
        elif working and (call := _CALL.match(line)) and call[1] not in NOT_COUNTED:
            counter[call[1]] += 1
    return {name: {call: round(count / requests, 3) for call, count in sorted(calls.items())} for name, calls in found.items()}


def count_instructions() -> dict[str, float]:
    """Count machine instructions in user space."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not shutil.which("valgrind"):
        raise CannotCount("valgrind is not installed")
    if compiler is None:
        raise CannotCount("there is no C compiler for the requests to valgrind")
    with tempfile.TemporaryDirectory(prefix="wproxy-budgets-") as folder:
        library = f"{folder}/callgrind.so"
        built = subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", library, str(HERE / "callgrind.c")],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise CannotCount(f"the requests to valgrind cannot be compiled: {built.stderr.strip()[:200]}")
        options = ["--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no", f"--callgrind-out-file={folder}/out"]
        counted = run(["valgrind", "-q", *options], "callgrind", library)
        totals = dict(read_dump(file.read_text("utf-8")) for file in Path(folder).glob("out.*"))
    each = totals["nothing"] / counted["nothing"]
    return {name: (totals[name] - each * counted[name]) / counted["requests"] for name in WORKLOADS_OF_OURS}


def read_dump(text: str) -> tuple[str, int]:
    """Return the name of a dump of callgrind's and its total."""
    name, total = re.search(r"^desc: Trigger: Client Request: ([\w-]+)$", text, re.M), re.search(r"^totals: (\d+)$", text, re.M)
    assert name and total, text[:500]
    return name[1], int(total[1])


def count_bytes() -> dict[str, float]:
    """Count the bytes of a connection or a stream, as malloc has them."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        raise CannotCount("the C library has no mallinfo2 (glibc from 2.33 on)")
    return run([], *MEMORIES, program="held.py", PYTHONMALLOC="malloc")


def read_table() -> dict[str, dict]:  # type: ignore[type-arg]
    """Return the table: for each way of counting, the budgets by workload; bytecodes and instructions by what executes first."""
    return tomllib.loads(TABLE.read_text("utf-8"))


def write_table(table: dict[str, dict]) -> None:  # type: ignore[type-arg]
    """Write the table."""
    lines = [HEADER, "[system_calls]"]
    for name, calls in table["system_calls"].items():
        lines.append(f"{name} = {{ {', '.join(f'{call} = {count:g}' for call, count in calls.items())} }}")
    lines += ["", "[calls]", *(f"{name} = {count:.1f}" for name, count in table["calls"].items())]
    for way in ("bytecodes", "instructions", "bytes"):
        for executor, counts in sorted(table[way].items()):
            lines += ["", f'[{way}."{executor}"]', *(f"{name} = {round(count)}" for name, count in counts.items())]
    TABLE.write_text("\n".join(lines) + "\n", "utf-8")


def main(only_lower: bool) -> None:
    """Count again, show what has changed, and write it down."""
    table = read_table() if TABLE.exists() else {"system_calls": {}, "calls": {}, "bytecodes": {}, "instructions": {}}
    old: dict[str, float]
    for title, count, place in (
        ("calls", count_calls, table["calls"]),
        ("bytecodes", count_bytecodes, table["bytecodes"].setdefault(name_of_version(), {})),
        ("instructions", count_instructions, table["instructions"].setdefault(name_of_build(), {})),
        ("bytes", count_bytes, table.setdefault("bytes", {}).setdefault(name_of_build(), {})),
    ):
        try:
            found = count()
        except CannotCount as reason:
            print(f"{title}: not counted: {reason}")
            continue
        for name, new in found.items():
            before = place.get(name)
            print(f"{title:12}  {name:12} {new:10.1f}  {'' if before is None else f'was {before:.1f}, {new / before - 1:+.1%}'}")
            if before is None or new < before or not only_lower:
                place[name] = new
    try:
        for name, calls in count_system_calls().items():
            old = table["system_calls"].get(name, {})
            print(f"system calls  {name:12} {calls}{'' if calls == old else f', was {old}'}")
            if not old or not only_lower or sum(calls.values()) < sum(old.values()):
                table["system_calls"][name] = calls
    except CannotCount as reason:
        print(f"system calls: not counted: {reason}")
    for way in ("bytecodes", "instructions", "bytes"):
        table[way] = {executor: counts for executor, counts in table[way].items() if counts}
    write_table(table)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent.parent.parent)]
    main("--lower" in sys.argv[1:])
