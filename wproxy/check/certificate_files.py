"""The certificate files of a configuration that is checked, read when a rule asks for one."""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.certificate import Certificate, read_certificates

Chain = tuple[Certificate, ...]


class CertificateFiles:
    """Certificates by the path in the configuration. now: in unix seconds."""

    def __init__(self, read: Callable[[str], bytes], now: float) -> None:
        """read: returns the content of a file; raises OSError."""
        self._read = read
        self.now = now
        self._chains: dict[str, Chain] = {}

    def chain(self, path: str) -> Chain:
        """Return the certificates in a file; none if it cannot be read (which `-t` reports) or its name has variables."""
        if path not in self._chains:
            self._chains[path] = self._load(path)
        return self._chains[path]

    def _load(self, path: str) -> Chain:
        if "$" in path or path.startswith("data:"):
            return ()
        try:
            return read_certificates(self._read(path))
        except (OSError, ValueError):
            return ()


def files_beside(file: str, now: float) -> CertificateFiles:
    """Return the certificates of a configuration: relative paths start from the directory of its main file."""
    directory = os.path.dirname(os.path.abspath(file))

    def read(path: str) -> bytes:
        with open(os.path.join(directory, path), "rb") as certificate:
            return certificate.read()

    return CertificateFiles(read, now)


def _none(path: str) -> bytes:
    raise FileNotFoundError(path)


NO_FILES = CertificateFiles(_none, 0.0)
