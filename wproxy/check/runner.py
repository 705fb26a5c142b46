"""One check: the messages of `-t`, the findings of the rules, and the comments that silence them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from wproxy.check.blocks import Blocks
from wproxy.check.certificate_files import NO_FILES, CertificateFiles
from wproxy.check.finding import (
    BUILT_IN,
    CONFIGURATION,
    ERROR,
    INFO,
    NOT_YET_EFFECTIVE,
    START_REFUSED,
    TEST_WARNING,
    UNKNOWN_RULE,
    Finding,
)
from wproxy.check.silence import Silences
from wproxy.check.table import RULES
from wproxy.config.document import Document
from wproxy.config.effects import is_refused
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Position, Problem

__all__ = ["CLEAN", "FOUND", "UNUSABLE", "Checked", "check", "exit_code", "lint"]

# Exit codes.
CLEAN = 0
UNUSABLE = 1  # the configuration has errors
FOUND = 2  # it can be used, and there are findings


class Checked(NamedTuple):
    """The result of a check: whether the configuration can be used at all, and the findings in the order of the files."""

    is_usable: bool
    findings: list[Finding]


Load = Callable[[], Document]
Resolve = Callable[[Document], Configuration]
Obstacles = Callable[[Configuration], Iterable[Problem]]


def check(
    load: Load,
    resolve: Resolve,
    obstacles: Obstacles | None = None,
    disabled: Collection[str] = (),
    certificates: CertificateFiles = NO_FILES,
) -> Checked:
    """Check a configuration.

    load: reads its files. resolve: makes the model of them. Both raise ConfigurationError; when resolve does, the rules still
    run. obstacles: finds anything else that would keep a server from starting. disabled: the ids of rules to leave out.
    certificates: the files that certificates are read from.
    """
    try:
        document = load()
    except ConfigurationError as error:
        return Checked(False, list(map(_error, error.problems)))
    findings: list[Finding] = []
    try:
        configuration = resolve(document)
        findings += tested(configuration)
        problems = list(obstacles(configuration)) if obstacles else []
    except ConfigurationError as error:
        problems = list(error.problems)
    errors = list(map(_error, problems))
    findings += lint(document, certificates)
    silences = Silences(document.files)
    heard = [
        finding
        for finding in dict.fromkeys(findings)
        if finding.rule not in disabled and not silences.covers(finding.rule, finding.position)
    ]
    return Checked(not errors, grouped(_in_order([*errors, *heard], document)))


def grouped(findings: list[Finding]) -> list[Finding]:
    """Merge infos that apply to several places into one at the first of them; leave the rest as they are."""
    first: dict[tuple[str, str, str], int] = {}
    told: list[Finding] = []
    for finding in findings:
        key = (finding.rule, finding.reason, finding.fix)
        if finding.severity != INFO or finding.position is None or key not in first:
            first.setdefault(key, len(told))
            told.append(finding)
            continue
        before = told[first[key]]
        told[first[key]] = before._replace(also=(*before.also, finding.position))
    return told


def tested(configuration: Configuration) -> list[Finding]:
    """Return what `-t` reports about a configuration that resolves: its warnings, and why a start would refuse it."""
    found = [
        Finding(START_REFUSED, ERROR, refusal.position, refusal.text, "take it out, or wait for the version that has it")
        for refusal in configuration.refusals
    ]
    for warning in configuration.warnings:
        if warning.text.startswith("conflicting server name"):
            continue  # a rule reports it too, with the place
        if "is accepted and not yet effective" not in warning.text:
            found.append(Finding(TEST_WARNING, BUILT_IN[TEST_WARNING][0], warning.position, warning.text, ""))
        elif not is_refused(warning):
            found.append(Finding(NOT_YET_EFFECTIVE, INFO, warning.position, warning.text, ""))
    return found


def lint(document: Document, certificates: CertificateFiles = NO_FILES) -> list[Finding]:
    """Return the findings of the rules, silenced or not, and comments that name an unknown rule."""
    blocks = Blocks(document.root, certificates)
    findings = [
        Finding(rule.id, found.severity or rule.severity, found.position, found.reason, found.fix)
        for rule in RULES.values()
        for found in rule.find(blocks)
    ]
    known = {*RULES, *BUILT_IN} - {CONFIGURATION}
    for mention in Silences(document.files).mentions:
        if mention.rule not in known:
            reason = f'a comment silences "{mention.rule}", but there is no such rule'
            findings.append(Finding(UNKNOWN_RULE, INFO, mention.position, reason, "`wproxy check --list` lists all rules"))
    return findings


def exit_code(checked: Checked, strict: bool = False) -> int:
    """Return UNUSABLE for errors in the configuration, FOUND for warnings or worse (strict: also for infos), else CLEAN."""
    if not checked.is_usable:
        return UNUSABLE
    return FOUND if any(strict or finding.severity != INFO for finding in checked.findings) else CLEAN


def _error(problem: Problem) -> Finding:
    return Finding(CONFIGURATION, ERROR, problem.position, problem.text, "")


def _in_order(findings: list[Finding], document: Document) -> list[Finding]:
    """Sort by file in the order of reading, and by line; findings without a place come last."""
    files = {file.name: place for place, file in reversed(list(enumerate(document.files)))}

    def key(finding: Finding) -> tuple[int, int, int]:
        position = finding.position or Position("", 0)
        return files.get(position.file, len(files)), position.line, position.column

    return sorted(findings, key=key)
