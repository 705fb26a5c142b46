"""Configurations for the tests of rules, and what a check says of them."""

from __future__ import annotations

import functools

from tests.authority import NOW, authority, rsa_key, self_signed
from wproxy.address import Address
from wproxy.check.certificate_files import CertificateFiles
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


@functools.cache
def example_certificates() -> dict[str, bytes]:
    """The files that the examples of rules name."""
    root = authority()
    middle = root.issue("Test Middle", is_authority=True, days=400)
    public = root.issue("Public Middle", is_authority=True)
    names = ["example.com", "www.example.com"]
    good = middle.issue("example.com", names)
    return {
        "example.pem": good.chain,
        "wild.pem": middle.issue("example.com", ["*.example.com", "192.0.2.7"]).chain,
        "expired.pem": middle.issue("example.com", names, days=-3).chain,
        "soon.pem": middle.issue("example.com", names, days=5.5, begins=-80).chain,
        "young.pem": middle.issue("example.com", names, days=5, begins=-1).chain,
        "tomorrow.pem": middle.issue("example.com", names, begins=1.5).chain,
        "disordered.pem": good.pem + root.pem + middle.pem,
        "foreign.pem": good.pem + public.pem,
        "alone.pem": public.issue("example.com", names, url="http://ca.example/middle.der").pem,
        "with-root.pem": good.chain + root.pem,
        "weak.pem": middle.issue("example.com", names, key=rsa_key(1024)).chain,
        "self.pem": self_signed("example.com", names).pem,
        "broken.pem": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }


def found_in(text: str, file: str = "nginx.conf") -> list[Finding]:
    """What a check says of a configuration, but for what is not effective yet."""
    syntax = TOML if file.endswith(".toml") else NGINX
    checked = check(
        lambda: read_document(text.encode(), file, syntax),
        lambda document: resolve_document(document, file, "/", lambda host, port: [Address("192.0.2.80", port)]),
        disabled=("not-yet-effective", "start-refused"),
        certificates=CertificateFiles(lambda path: _content(path), NOW.timestamp()),
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


def _content(path: str) -> bytes:
    try:
        return example_certificates()[path]
    except KeyError:
        raise FileNotFoundError(path) from None
