"""An authority for tests, and the certificates that it issues: as small and as quick to make as they can be."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

DAY = datetime.timedelta(days=1)


def new_key(kind: str = "ecdsa") -> CertificateIssuerPrivateKeyTypes:
    """Make a private key."""
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


class Authority:
    """A certificate authority. parent: the one that signs its own certificate; without, it does so itself."""

    def __init__(self, name: str = "Test Authority", parent: Authority | None = None) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.serial = 1
        self.parent = parent
        signer = parent or self
        self.certificate = self._signed(signer, self.name, self.key.public_key(), is_authority=True)

    def _signed(
        self,
        signer: Authority,
        subject: x509.Name,
        public_key: object,
        names: Iterable[str] = (),
        is_authority: bool = False,
        days: tuple[float, float] = (-1, 30),
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        signer.serial += 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.name)
            .public_key(public_key)  # type: ignore[arg-type]
            .serial_number(signer.serial)
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        return builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, directory: Path, name: str = "authority") -> Path:
        """Write its certificate into a file."""
        file = directory / f"{name}.pem"
        file.write_bytes(self.pem)
        return file

    def issue(
        self,
        directory: Path,
        *names: str,
        kind: str = "ecdsa",
        password: bytes = b"",
        days: tuple[float, float] = (-1, 30),
        subject: x509.Name | None = None,
        file: str = "",
    ) -> tuple[Path, Path]:
        """Write a certificate for these names, followed by those above it, and its key; return both files."""
        key = new_key(kind)
        subject = subject or x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        certificate = self._signed(self, subject, key.public_key(), names, days=days)
        chain = certificate.public_bytes(Encoding.PEM)
        above: Authority | None = self
        while above is not None and above.parent is not None:
            chain += above.pem
            above = above.parent
        encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
        stem = file or names[0].replace("*", "any")
        certificate_file, key_file = directory / f"{stem}.crt", directory / f"{stem}.key"
        certificate_file.write_bytes(chain)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return certificate_file, key_file

    def revoke(self, directory: Path, *certificates: Path, name: str = "revoked") -> Path:
        """Write a list of revoked certificates."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - DAY).next_update(now + 30 * DAY)
        )
        for certificate in certificates:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        file = directory / f"{name}.crl"
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return file
