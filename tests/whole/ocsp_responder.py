"""A real OCSP responder, `openssl ocsp`, for the certificates of one authority."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness import Program, until

from tests.authority import Issued


class Responder:
    """A responder at a port of 127.0.0.1; what is neither good nor revoked it does not know."""

    def __init__(self, directory: Path, issuer: Issued, port: int, good: Iterable[Issued], revoked: Iterable[Issued]) -> None:
        files = {"-CA": "ca.pem", "-rsigner": "ca.pem", "-rkey": "ca.key", "-index": "index"}
        paths = {option: directory / f"responder-{port}-{name}" for option, name in files.items()}
        paths["-CA"].write_bytes(issuer.pem)
        paths["-rkey"].write_bytes(issuer.key_pem())
        lines = [_index_line(one, "V") for one in good] + [_index_line(one, "R") for one in revoked]
        paths["-index"].write_text("".join(lines))
        options = [word for option, path in paths.items() for word in (option, str(path))]
        self.program = Program(["openssl", "ocsp", "-port", str(port), "-nmin", "60", *options], directory)
        until(lambda: "waiting for OCSP client connections" in self.text, lambda: self.text)

    @property
    def text(self) -> str:
        """What it has said."""
        return self.program.output + self.program.errors


def _index_line(issued: Issued, status: str) -> str:
    """A line of the index of `openssl ca`. status: V or R."""
    certificate = issued.certificate
    ends = certificate.not_valid_after_utc.strftime("%y%m%d%H%M%SZ")
    revoked = ends if status == "R" else ""
    # No two good ones may have the same name.
    return f"{status}\t{ends}\t{revoked}\t{certificate.serial_number:040X}\tunknown\t/CN={certificate.serial_number}\n"
