"""Configurations for the tests of rules, and what a check says of them."""

from __future__ import annotations

from wproxy.address import Address
from wproxy.check.finding import Finding
from wproxy.check.runner import check
from wproxy.config import model  # noqa: F401  its import fills the registry
from wproxy.config.convert import NGINX, TOML, read_document
from wproxy.config.load import resolve_document


def whole(text: str, around: str = "server", listen: str = "8080") -> str:
    """A complete nginx.conf around an example."""
    if around == "main":
        return f"{text}\nevents {{}}\nhttp {{\nserver {{\nlisten {listen};\n}}\n}}\n"
    if around == "server":
        text = f"server {{\nlisten {listen};\n{text}\n}}"
    return f"events {{}}\nhttp {{\n{text}\n}}\n"


def found_in(text: str, file: str = "nginx.conf") -> list[Finding]:
    """What a check says of a configuration, but for what is not effective yet."""
    syntax = TOML if file.endswith(".toml") else NGINX
    checked = check(
        lambda: read_document(text.encode(), file, syntax),
        lambda document: resolve_document(document, file, "/", lambda host, port: [Address("192.0.2.80", port)]),
        disabled=("not-yet-effective", "start-refused"),
    )
    return checked.findings


def rules_in(text: str, file: str = "nginx.conf") -> list[str]:
    """The rules of what is found."""
    return [finding.rule for finding in found_in(text, file)]


def findings(rule: str, text: str, around: str = "server", listen: str = "8080") -> list[Finding]:
    """What one rule finds."""
    return [finding for finding in found_in(whole(text, around, listen)) if finding.rule == rule]


def reasons(rule: str, text: str, around: str = "server", listen: str = "8080") -> list[str]:
    """The reasons that one rule gives."""
    return [finding.reason for finding in findings(rule, text, around, listen)]
