"""Count what a request of each workload costs, and print it as JSON: `python measure.py calls|bytecodes|marks|callgrind [LIBRARY]`.

calls, bytecodes: of Python. marks: nothing is counted here, but strace sees where the worker begins and ends. callgrind: the same for
valgrind, with LIBRARY, built of `callgrind.c`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent.parent)]

from conversations import CLIENTS, conversations  # noqa: E402

# Rounds before the count: what is made once is made, what is remembered is remembered.
WARM_UP = 5
ROUNDS = 4
REQUESTS = CLIENTS * ROUNDS


class Counting:
    """A meter that counts by itself."""

    def __init__(self) -> None:
        self.count = 0

    def prepare(self) -> dict[str, float]:
        """Return what the reader of the counts has to know; called before the first workload."""
        return {}

    def open(self, workload: str) -> None:
        self.count = 0

    def close(self, workload: str) -> float:
        return self.count / REQUESTS


class Calls(Counting):
    """Counts calls of functions, Python's and those of C. A coroutine that goes on counts as called."""

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.count += 1

    def begin(self) -> None:
        sys.setprofile(self._note)

    def end(self) -> None:
        sys.setprofile(None)
        self.count -= 1  # setprofile itself


class Bytecodes(Counting):
    """Counts instructions of Python's virtual machine."""

    def _enter(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self.count += 1
        return self._step

    def begin(self) -> None:
        sys.settrace(self._enter)

    def end(self) -> None:
        sys.settrace(None)


class Marks:
    """Marks the trace of system calls: each mark is a question for a file that is not there."""

    def prepare(self) -> dict[str, float]:
        return {"requests": REQUESTS}

    def open(self, workload: str) -> None:
        os.access(f"/wproxy/name/{workload}", os.F_OK)

    def close(self, workload: str) -> float:
        return 0

    def begin(self) -> None:
        os.access("/wproxy/begin", os.F_OK)

    def end(self) -> None:
        os.access("/wproxy/end", os.F_OK)


class Callgrind:
    """Has valgrind collect while the worker works. What `begin` and `end` cost themselves is measured as the workload `nothing`."""

    def __init__(self, library: str) -> None:
        made = ctypes.CDLL(library)
        self.toggle, self.start, self.dump = made.toggle, made.start, made.dump
        self.pairs = 0

    def prepare(self) -> dict[str, float]:
        self.start()  # only now: valgrind takes five times as long for what it counts
        for _ in range(100):
            self.begin()
            self.end()
        return {"requests": REQUESTS, "nothing": self.close("nothing")}

    def open(self, workload: str) -> None:
        self.pairs = 0

    def close(self, workload: str) -> float:
        self.dump(workload.encode())
        return self.pairs

    def begin(self) -> None:
        self.pairs += 1
        self.toggle()

    def end(self) -> None:
        self.toggle()


def measure(meter: Any) -> dict[str, float]:
    """Return the count of one request of each workload; for the meters from outside what their own traces have to be divided by."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="wproxy-budgets-") as directory:
        ready = []
        for name, made in conversations(directory, Idle(), *make_certificate(directory)):
            for _ in range(WARM_UP):
                made.round()
            ready.append((name, made))
        gc.collect()
        gc.disable()  # a collection costs much, and comes once in thousands of requests
        found.update(meter.prepare())
        for name, made in ready:
            made.meter = meter
            before = made.answered
            meter.open(name)
            for _ in range(ROUNDS):
                made.round()
            assert made.answered - before == REQUESTS
            found[name] = meter.close(name)
        for _, made in ready:
            made.close()
    return found


def make_certificate(directory: str) -> tuple[str, str]:
    """Return the files of a certificate and its key."""
    certificate, key = f"{directory}/certificate.pem", f"{directory}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=www.example.com", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return certificate, key


class Idle:
    """Counts nothing."""

    def begin(self) -> None: ...
    def end(self) -> None: ...


if __name__ == "__main__":
    which, *arguments = sys.argv[1:]
    meters = {"calls": Calls, "bytecodes": Bytecodes, "marks": Marks, "callgrind": Callgrind}
    print(json.dumps(measure(meters[which](*arguments))))
