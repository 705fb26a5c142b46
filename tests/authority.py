"""An authority for tests: real certificates, with whatever is to be wrong about them."""

from __future__ import annotations

import datetime
import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@functools.cache
def rsa_key(bits: int) -> Any:
    """Return an RSA key: each size is made once, as it takes time."""
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and those above it."""

    certificate: x509.Certificate
    key: Any
    above: tuple[Issued, ...] = ()

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain(self) -> bytes:
        """The certificate and those between it and the root."""
        return self.pem + b"".join(one.pem for one in self.above if one.above)

    def key_pem(self, password: str = "") -> bytes:
        """Return the key, encrypted if there is a password."""
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def write(self, directory: Path, name: str, password: str = "") -> tuple[Path, Path]:
        """Write the chain and the key into a directory; return their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.chain)
        key.write_bytes(self.key_pem(password))
        key.chmod(0o600)
        return certificate, key

    def issue(
        self,
        common_name: str,
        names: Sequence[str] = (),
        *,
        days: float = 60,
        begins: float = -1,
        is_authority: bool = False,
        key: Any = None,
        hash: Any = None,
        url: str = "",
        ocsp: str = "",
    ) -> Issued:
        """Issue a certificate. names: DNS names and addresses; days, begins: from now on. ocsp: the URL of a responder."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        return replace(
            _sign(common_name, names, key, self.certificate.subject, self.key, days, begins, is_authority, hash, url, ocsp),
            above=(self, *self.above),
        )

    def revoke(self, *revoked: Issued) -> bytes:
        """Return a list of revoked certificates of this authority, in PEM."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(NOW - DAY).next_update(NOW + 30 * DAY)
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(NOW - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def subject(common_name: str, **more: str) -> x509.Name:
    """Return a name with this CN."""
    attributes = [x509.NameAttribute(getattr(NameOID, oid), value) for oid, value in more.items()]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def self_signed(common_name: str, names: Sequence[str] = (), *, days: float = 60, begins: float = -1, key: Any = None) -> Issued:
    """Return a certificate that nobody else vouches for."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    return _sign(common_name, names, key, subject(common_name), key, days, begins, False, None, "")


def authority(common_name: str = "Test Root") -> Issued:
    """Return a new root."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _sign(common_name, (), key, subject(common_name), key, 3650, -1, True, None, "")


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
    "encipher_only", "decipher_only",
)  # fmt: skip


def _sign(
    common_name: str,
    names: Sequence[str],
    key: Any,
    issuer: x509.Name,
    issuer_key: Any,
    days: float,
    begins: float,
    is_authority: bool,
    hash: Any,
    url: str,
    ocsp: str = "",
) -> Issued:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(common_name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=min(begins, days - 1)))
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if is_authority:  # Python since 3.13 accepts no other
        usage = dict.fromkeys(USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    methods = x509.AuthorityInformationAccessOID
    places = [(method, place) for method, place in ((methods.CA_ISSUERS, url), (methods.OCSP, ocsp)) if place]
    if places:
        access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(place)) for method, place in places]
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    return Issued(builder.sign(issuer_key, hash or hashes.SHA256()), key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
