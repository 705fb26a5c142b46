"""The command `wproxy check`: from its arguments to its output."""

from __future__ import annotations

import argparse
import os
import sys

from wproxy.address import Address
from wproxy.check.certificate_files import NO_FILES, files_beside
from wproxy.check.finding import BUILT_IN, CONFIGURATION
from wproxy.check.report import FORMATS
from wproxy.check.runner import UNUSABLE, Obstacles, check, exit_code
from wproxy.check.table import RULES
from wproxy.config.listeners import LookUp
from wproxy.config.load import load_document, resolve_document


def run_check(
    given: argparse.Namespace, file: str, prefix: str, look_up: LookUp, obstacles: Obstacles | None = None, now: float = 0.0
) -> int:
    """Check a configuration file and print the findings; return the exit code (see `wproxy.check.runner.exit_code`).

    given: the arguments that `wproxy.check.arguments.declare` declares. file: the configuration. prefix: where relative paths in
    it start.
    look_up: names to addresses.
    obstacles: finds everything outside of the files that would keep a server from starting. now: in unix seconds, to tell which
    certificates have expired.
    """
    if given.list:
        sys.stdout.write(listing())
        return 0
    disabled = {word for words in given.disable for word in words.replace(",", " ").split()}
    unknown = disabled - {*RULES, *BUILT_IN} | disabled & {CONFIGURATION}
    if unknown:
        sys.stderr.write(f"wproxy: unknown rule {', '.join(sorted(unknown))} in --disable: see wproxy check --list\n")
        return UNUSABLE
    finder = _no_look_up if given.offline else look_up
    checked = check(
        lambda: load_document(file),
        lambda document: resolve_document(document, file, prefix, finder),
        None if given.offline else obstacles,
        disabled,
        NO_FILES if given.offline else files_beside(file, now),
    )
    code = exit_code(checked, given.strict)
    text = FORMATS[given.format](file, checked.findings, code)
    sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.buffer.flush()
    return code


def _no_look_up(host: str, port: int) -> list[Address]:
    """Return a reserved address for any name (RFC 5737)."""
    return [Address("192.0.2.1", port)]


def listing() -> str:
    """Return all rules, one a line: id, severity, subject."""
    rows = [(rule.id, rule.severity, rule.summary) for rule in RULES.values()]
    rows += [(name, severity, summary) for name, (severity, summary) in BUILT_IN.items()]
    width = max(len(name) for name, _, _ in rows)
    return "".join(f"{name:{width}}  {severity:7}  {summary}\n" for name, severity, summary in rows)
