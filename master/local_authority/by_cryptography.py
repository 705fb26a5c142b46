"""Certificates made with the package `cryptography` (the extra `tls`)."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from master.local_authority.names import DOMAINS, NETWORKS

_HOUR = datetime.timedelta(hours=1)  # clocks may differ


class ByCryptography:
    """Makes them in this process."""

    def make_authority(self, name: str, days: int) -> tuple[bytes, bytes]:
        """Return a new authority's certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        limits = [*map(x509.DNSName, DOMAINS), *map(x509.IPAddress, NETWORKS)]
        builder = (
            _builder(name, _named(name), key.public_key(), days)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.NameConstraints(limits, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return _pem(builder.sign(key, hashes.SHA256()), key)

    def issue(self, authority: bytes, key: bytes, names: tuple[str, ...], days: int) -> tuple[bytes, bytes]:
        """Return a certificate for these names and addresses, and its key."""
        issuer, issuer_key = x509.load_pem_x509_certificate(authority), load_pem_private_key(key, None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        own = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(names[0], issuer.subject, own.public_key(), days)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        return _pem(builder.sign(issuer_key, hashes.SHA256()), own)


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not signs_certificates, False, False, False, False, signs_certificates, signs_certificates, False, False)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    return certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
