"""Certificates: what is in one (X.509, RFC 5280), and the chain in a PEM file.

Only what is shown or checked is read. Nothing is verified here: that is OpenSSL's part in a handshake.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

from wproxy.der import BIT_STRING, BOOLEAN, OCTET_STRING, SET, Element, elements, inside, object_identifier, seconds, text

DAY = 86400

# Names of the parts of a subject, as OpenSSL writes them.
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_CURVES = {
    "1.2.840.10045.3.1.1": ("P-192", 192),
    "1.3.132.0.33": ("P-224", 224),
    "1.2.840.10045.3.1.7": ("P-256", 256),
    "1.3.132.0.10": ("secp256k1", 256),
    "1.3.132.0.34": ("P-384", 384),
    "1.3.132.0.35": ("P-521", 521),
    "1.3.36.3.3.2.8.1.1.7": ("brainpoolP256r1", 256),
    "1.3.36.3.3.2.8.1.1.11": ("brainpoolP384r1", 384),
    "1.3.36.3.3.2.8.1.1.13": ("brainpoolP512r1", 512),
}
RSA, DSA, EC = "RSA", "DSA", "EC"
_KEYS = {
    "1.2.840.113549.1.1.1": (RSA, 0),
    "1.2.840.113549.1.1.10": (RSA, 0),
    "1.2.840.10040.4.1": (DSA, 0),
    "1.2.840.10045.2.1": (EC, 0),
    "1.3.101.112": ("Ed25519", 256),
    "1.3.101.113": ("Ed448", 456),
}
# Signatures whose hash can be forged, with the name of that hash.
_WEAK_SIGNATURES = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.3.14.3.2.29": "SHA-1",
    "1.2.840.10040.4.3": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
}
_ALTERNATIVE_NAMES, _BASIC_CONSTRAINTS, _AUTHORITY_ACCESS = "2.5.29.17", "2.5.29.19", "1.3.6.1.5.5.7.1.1"
_ISSUER_CERTIFICATE = "1.3.6.1.5.5.7.48.2"
_DNS, _ADDRESS, _URI = 0x82, 0x87, 0x86  # choices of GeneralName

Name = tuple[tuple[str, str], ...]


class Certificate(NamedTuple):
    """One certificate.

    subject, issuer: (attribute, value) pairs in the order of the file; issuer_der, subject_der: the same as bytes, to compare.
    names, addresses: the DNS names and IP addresses of subjectAltName. key: RSA, DSA, EC …; curve: of an EC key.
    weak_hash: the name of a broken hash in its signature, or "".
    issuer_url: where the certificate of its issuer is to be had, or "". serial: its number, big-endian.
    """

    subject: Name
    issuer: Name
    subject_der: bytes
    issuer_der: bytes
    not_before: int
    not_after: int
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    key: str
    bits: int
    curve: str
    weak_hash: str
    is_authority: bool
    issuer_url: str
    der: bytes
    serial: bytes

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer are the same: a root, or a self-signed certificate."""
        return self.subject_der == self.issuer_der

    @property
    def common_name(self) -> str:
        """The last CN of the subject, "" without one."""
        return next((value for attribute, value in reversed(self.subject) if attribute == "CN"), "")

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names and addresses it is for; the CN only if there is no DNS name."""
        names = self.names or ((self.common_name,) if self.common_name else ())
        return (*names, *self.addresses)

    @property
    def shown_key(self) -> str:
        """The kind of its key, as people write it: `RSA 2048`, `EC P-256`."""
        return f"{self.key} {self.curve or self.bits}" if self.key in (RSA, DSA, EC) else self.key

    def days_left(self, now: float) -> int:
        """Return the number of whole days until it expires; negative afterwards."""
        return int((self.not_after - now) // DAY)

    def covers(self, name: str) -> bool:
        """Whether it is valid for this host name, a wildcard name, or an IP address."""
        try:
            return str(ipaddress.ip_address(name)) in self.addresses
        except ValueError:
            return any(covers(own, name) for own in self.names or (self.common_name,))

    def __repr__(self) -> str:
        return f"<certificate of {shown_name(self.subject)}>"


def covers(pattern: str, name: str) -> bool:
    """Whether a name in a certificate covers a host name: a leading `*` stands for one whole label (RFC 6125, 6.4.3)."""
    pattern, name = pattern.rstrip(".").lower(), name.rstrip(".").lower()
    if pattern == name:
        return bool(name)
    if not pattern.startswith("*."):
        return False
    label, dot, rest = name.partition(".")
    return bool(label and dot) and label != "*" and rest == pattern[2:]


def shown_name(name: Name) -> str:
    """Return a subject or issuer in one line, the most specific part first, as RFC 2253 has it: `CN=example.com,O=Example`."""
    return ",".join(f"{attribute}={_escaped(value)}" for attribute, value in reversed(name))


def _escaped(value: str) -> str:
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    escaped = re.sub(r"^([ #])|( )$", lambda found: f"\\{found[0]}", escaped)
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):02X}", escaped)


# Reading.

_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s*(.*?)-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)


def read_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM file in their order; whatever else it holds is passed over. Raises ValueError."""
    found = []
    for match in _PEM.finditer(pem):
        try:
            der = binascii.a2b_base64(match[1])
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from None
        found.append(read_certificate(der))
    return tuple(found)


def read_certificate(der: bytes) -> Certificate:
    """Read one certificate in DER. Raises ValueError."""
    try:
        return _read(der)
    except IndexError:
        raise ValueError("no certificate: a part of it is missing") from None


def _read(der: bytes) -> Certificate:
    outer = elements(der)[0]
    body, algorithm, _ = inside(outer)[:3]
    parts = inside(body)
    if parts[0].tag == 0xA0:  # the version
        parts = parts[1:]
    serial, _algorithm, issuer, validity, subject, public_key = parts[:6]
    begin, end = inside(validity)[:2]
    key, bits, curve = _public_key(public_key)
    extensions = {identifier: value for part in parts[6:] if part.tag == 0xA3 for identifier, value in _extensions(part)}
    alternatives = list(_alternatives(extensions.get(_ALTERNATIVE_NAMES, b"")))
    return Certificate(
        subject=_name(subject),
        issuer=_name(issuer),
        subject_der=subject.encoded,
        issuer_der=issuer.encoded,
        not_before=seconds(begin),
        not_after=seconds(end),
        names=tuple(text(one) for one in alternatives if one.tag == _DNS),
        addresses=tuple(_address(one.content) for one in alternatives if one.tag == _ADDRESS),
        key=key,
        bits=bits,
        curve=curve,
        weak_hash=_WEAK_SIGNATURES.get(object_identifier(inside(algorithm)[0]), ""),
        is_authority=_is_authority(extensions.get(_BASIC_CONSTRAINTS, b"")),
        issuer_url=_issuer_url(extensions.get(_AUTHORITY_ACCESS, b"")),
        der=outer.encoded,
        serial=serial.content,
    )


def _name(element: Element) -> Name:
    pairs = []
    for relative in inside(element):
        for attribute in inside(relative, SET):
            kind, value = inside(attribute)[:2]
            identifier = object_identifier(kind)
            pairs.append((_ATTRIBUTES.get(identifier, identifier), text(value)))
    return tuple(pairs)


def _public_key(element: Element) -> tuple[str, int, str]:
    """Return the kind, the bits and the curve of a public key."""
    algorithm, key = inside(element)[:2]
    parts = inside(algorithm)
    kind, bits = _KEYS.get(object_identifier(parts[0]), (object_identifier(parts[0]), 0))
    if kind == RSA and key.tag == BIT_STRING:
        modulus = inside(elements(key.content[1:])[0])[0]
        return kind, int.from_bytes(modulus.content, "big").bit_length(), ""
    if kind == DSA and len(parts) > 1:
        prime = inside(parts[1])[0]
        return kind, int.from_bytes(prime.content, "big").bit_length(), ""
    if kind == EC and len(parts) > 1 and parts[1].tag == 6:
        curve = object_identifier(parts[1])
        name, bits = _CURVES.get(curve, (curve, 0))
        return kind, bits, name
    return kind, bits, ""


def _extensions(part: Element) -> Iterator[tuple[str, bytes]]:
    for extension in inside(elements(part.content)[0]):
        fields = inside(extension)
        if fields[-1].tag == OCTET_STRING:
            yield object_identifier(fields[0]), fields[-1].content


def _alternatives(value: bytes) -> list[Element]:
    return inside(elements(value)[0]) if value else []


def _address(packed: bytes) -> str:
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError:
        return packed.hex()


def _is_authority(value: bytes) -> bool:
    fields = inside(elements(value)[0]) if value else []
    return bool(fields) and fields[0].tag == BOOLEAN and fields[0].content != b"\0"


def _issuer_url(value: bytes) -> str:
    for description in inside(elements(value)[0]) if value else ():
        method, place = inside(description)[:2]
        if object_identifier(method) == _ISSUER_CERTIFICATE and place.tag == _URI:
            return text(place)
    return ""
