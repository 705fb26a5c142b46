"""An authority of this machine's own, for `wproxy proxy --tls`: HTTPS while developing, without a warning of the browser.

It is made once, in the user's own directory. The user has to trust it once; certificates for this machine's names are issued, and
renewed, as they are needed. Whoever steals its key cannot pretend to be any other server: the authority is limited, in its own
certificate, to names and addresses that nobody has on the internet.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from master.local_authority.names import may_certify, names_of_this_machine
from wproxy.certificate import DAY, Certificate, read_certificates

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 397
# A certificate with fewer days left is replaced.
RENEWED_BEFORE = 30


class CannotCertify(Exception):
    """No certificate can be had; the message says in one line why, and what to do."""


class LocalCertificate(NamedTuple):
    """Paths: the certificate and its key, and the authority's certificate. is_new: whether the authority has just been made."""

    certificate: str
    key: str
    authority: str
    is_new: bool

    def advice(self) -> str:
        """Return the line that says how to trust the authority."""
        copied = "/usr/local/share/ca-certificates/wproxy.crt"
        return (
            f"certificates are of the local authority {self.authority}: import it in the browser, "
            f"or once: sudo cp {self.authority} {copied} && sudo update-ca-certificates"
        )


class Maker(Protocol):
    """A way to make keys and certificates; all that is given and returned is PEM."""

    def make_authority(self, name: str, days: int) -> tuple[bytes, bytes]:
        """Return a new authority's certificate and key."""

    def issue(self, authority: bytes, key: bytes, names: tuple[str, ...], days: int) -> tuple[bytes, bytes]:
        """Return a certificate for these names and addresses, and its key."""


def find_maker() -> Maker:
    """Return the way to make certificates that there is. Raises CannotCertify."""
    try:
        from master.local_authority.by_cryptography import ByCryptography
    except ImportError:
        from master.local_authority.by_openssl import ByOpenSSL, find_program

        program = find_program()
        if program:
            return ByOpenSSL(program)
        raise CannotCertify(
            "to make a certificate, --tls needs the package cryptography (pip install 'wproxy-server[tls]') or the program "
            "openssl"
        ) from None
    return ByCryptography()


def usual_directory() -> str:
    """Return the directory of this user's authority."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "wproxy")


def provide_certificate(directory: str, listen: str, more: Sequence[str], now: float) -> LocalCertificate:
    """Return a certificate for this machine and for these further names and addresses; what is missing is made.

    listen: where it listens; its name counts if it may be certified. Raises CannotCertify.
    """
    for name in more:
        if not may_certify(name):
            raise CannotCertify(
                f"--tls is for this machine and for local networks (localhost, *.localhost, *.local, *.test, *.internal, private "
                f'addresses): "{name}" needs a certificate of its own, in a configuration file'
            )
    host = listen.rpartition(":")[0].strip("[]")
    names = tuple(dict.fromkeys((*names_of_this_machine(), *([host] if may_certify(host) else ()), *more)))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with _locked(directory):
            return _provide(directory, names, now)
    except OSError as error:
        raise CannotCertify(f'"{error.filename or directory}": {error.strerror}') from None


def _provide(directory: str, names: tuple[str, ...], now: float) -> LocalCertificate:
    def path(name: str) -> str:
        return os.path.join(directory, name)

    found = LocalCertificate(path("localhost.pem"), path("localhost.key"), path("authority.pem"), False)
    authority_key = path("authority.key")
    authority = _first(found.authority)
    if authority is None or authority.days_left(now) < CERTIFICATE_DAYS or not os.path.exists(authority_key):
        user = pwd.getpwuid(os.getuid()).pw_name
        pem, key = find_maker().make_authority(f"wproxy local authority of {user} on {socket.gethostname()}"[:64], AUTHORITY_DAYS)
        _write(authority_key, key)
        _write(found.authority, pem, 0o644)
        authority = read_certificates(pem)[0]
        found = found._replace(is_new=True)
    own = _first(found.certificate)
    if own is None or not os.path.exists(found.key) or not _is_good(own, authority, names, now) or found.is_new:
        with open(found.authority, "rb") as certificate, open(authority_key, "rb") as opened:
            pem, key = find_maker().issue(certificate.read(), opened.read(), names, CERTIFICATE_DAYS)
        _write(found.key, key)
        _write(found.certificate, pem, 0o644)
    return found


def _is_good(own: Certificate, authority: Certificate, names: tuple[str, ...], now: float) -> bool:
    if own.issuer_der != authority.subject_der or not own.not_before <= now < own.not_after - RENEWED_BEFORE * DAY:
        return False
    return set(names) <= set(own.all_names)


def _first(path: str) -> Certificate | None:
    try:
        with open(path, "rb") as file:
            return next(iter(read_certificates(file.read())), None)
    except (FileNotFoundError, ValueError):
        return None


def _write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file as a whole, or not at all."""
    beside = f"{path}.new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
    os.replace(beside, path)


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Keep others of this user out, who might be making the same files."""
    fileno = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fileno)
