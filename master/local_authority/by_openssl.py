"""Certificates made by the program `openssl`, where the package `cryptography` is not installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile

from master.local_authority.names import DOMAINS, NETWORKS

# A key of the elliptic curve that everybody knows, in PKCS #8.
_KEY = ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
_AUTHORITY = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = {name}
[extensions]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, @limits
[limits]
{limits}
"""
_CERTIFICATE = """\
[req]
prompt = no
distinguished_name = name
[name]
CN = {name}
[extensions]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = @names
[names]
{names}
"""


def find_program() -> str:
    """Return the path of the program; "" if there is none."""
    return shutil.which("openssl") or ""


class ByOpenSSL:
    """Makes them with a few runs of the program, in a directory of its own."""

    def __init__(self, program: str) -> None:
        self.program = program

    def make_authority(self, name: str, days: int) -> tuple[bytes, bytes]:
        """Return a new authority's certificate and key."""
        limits = [f"permitted;DNS.{number} = {domain}" for number, domain in enumerate(DOMAINS)]
        limits += [
            f"permitted;IP.{number} = {network.network_address}/{network.netmask}" for number, network in enumerate(NETWORKS)
        ]
        with tempfile.TemporaryDirectory(prefix="wproxy-authority-") as place:
            _write(place, "settings", _AUTHORITY.format(name=name, limits="\n".join(limits)).encode())
            self._run(place, *_KEY, "-out", "key")
            self._run(
                place, "req", "-x509", "-new", "-key", "key", "-config", "settings", "-days", str(days), "-out", "certificate"
            )
            return _read(place, "certificate"), _read(place, "key")

    def issue(self, authority: bytes, key: bytes, names: tuple[str, ...], days: int) -> tuple[bytes, bytes]:
        """Return a certificate for these names and addresses, and its key."""
        lines = "\n".join(f"{_kind(name)}.{number} = {name}" for number, name in enumerate(names))
        with tempfile.TemporaryDirectory(prefix="wproxy-authority-") as place:
            _write(place, "authority", authority)
            _write(place, "authority-key", key)
            _write(place, "settings", _CERTIFICATE.format(name=names[0], names=lines).encode())
            self._run(place, *_KEY, "-out", "key")
            self._run(place, "req", "-new", "-key", "key", "-config", "settings", "-out", "request")
            self._run(
                place,
                *("x509", "-req", "-in", "request", "-CA", "authority", "-CAkey", "authority-key"),
                *("-set_serial", f"0x{secrets.token_hex(16)}", "-days", str(days)),
                *("-extfile", "settings", "-extensions", "extensions", "-out", "certificate"),
            )
            return _read(place, "certificate"), _read(place, "key")

    def _run(self, place: str, *words: str) -> None:
        """Run the program; raises OSError with its own words when it fails."""
        done = subprocess.run(
            [self.program, *words], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["failed"]
            raise OSError(done.returncode, f"{words[0]}: {said[-1]}", self.program)


def _kind(name: str) -> str:
    return "IP" if ":" in name or name.replace(".", "").isdigit() else "DNS"


def _write(place: str, name: str, content: bytes) -> None:
    with open(os.open(os.path.join(place, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _read(place: str, name: str) -> bytes:
    with open(os.path.join(place, name), "rb") as file:
        return file.read()
