"""Findings as text for people, as JSON for programs, as workflow commands for GitHub."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from wproxy.check.finding import ERROR, INFO, SEVERITIES, WARNING, Finding
from wproxy.config.tree import printable


def as_text(file: str, findings: Sequence[Finding], code: int) -> str:
    """Return `FILE:LINE[:COLUMN] severity [rule] reason`, with the fix below, and a line that counts the findings."""
    lines = []
    for finding in findings:
        told = f"{finding.position or file} {finding.severity} [{finding.rule}] {finding.reason}{_also(finding)}"
        lines.append(printable(told) + "\n")
        if finding.fix:
            lines.append(f"    fix: {finding.fix}\n")
    return "".join(lines) + f"{file}: {_counted(findings)}\n"


def _also(finding: Finding) -> str:
    """Return the further places: lines, or whole positions in other files."""
    if not finding.also:
        return ""
    file = finding.position.file if finding.position else ""
    places = [str(place.line) if place.file == file else str(place) for place in finding.also]
    return f" (also: {', '.join(places)})"


def _counted(findings: Sequence[Finding]) -> str:
    counts = [(count_of(findings, severity), severity) for severity in SEVERITIES]
    return ", ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count) or "no findings"


def count_of(findings: Sequence[Finding], severity: str) -> int:
    """Return the number of findings of a severity."""
    return sum(finding.severity == severity for finding in findings)


def as_json(file: str, findings: Sequence[Finding], code: int) -> str:
    """Return one object: the file, the exit code, the number of findings by severity, and the findings in order."""
    document = {
        "file": file,
        "exit_code": code,
        "counts": {severity: count_of(findings, severity) for severity in SEVERITIES},
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "file": finding.position.file if finding.position else file,
                "line": finding.position.line or None if finding.position else None,
                "column": finding.position.column or None if finding.position else None,
                "reason": finding.reason,
                "fix": finding.fix,
                "also": [{"file": place.file, "line": place.line, "column": place.column or None} for place in finding.also],
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2) + "\n"


_GITHUB = {ERROR: "error", WARNING: "warning", INFO: "notice"}


def as_github(file: str, findings: Sequence[Finding], code: int) -> str:
    """Return workflow commands, which GitHub shows beside the lines of a change."""
    return "".join(_command(file, finding) for finding in findings)


def _command(file: str, finding: Finding) -> str:
    place = {"file": finding.position.file if finding.position else file}
    if finding.position and finding.position.line:
        place["line"] = str(finding.position.line)
        if finding.position.column:
            place["col"] = str(finding.position.column)
    place["title"] = finding.rule
    shown = ",".join(f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in place.items())
    text = finding.reason + _also(finding) + (f"\nfix: {finding.fix}" if finding.fix else "")
    return f"::{_GITHUB[finding.severity]} {shown}::{_escaped(text)}\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


FORMATS: dict[str, Callable[[str, Sequence[Finding], int], str]] = {"text": as_text, "json": as_json, "github": as_github}
