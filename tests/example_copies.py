"""Copies of the configurations in tests/examples, made fit to load: logs, certificates and the places that are to be filled in."""

from __future__ import annotations

import datetime
import functools
import re
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import wproxy.config.model  # noqa: F401  # registers the directives
from wproxy.config.convert import TOML
from wproxy.config.load import convert_file

EXAMPLES = Path(__file__).parent / "examples"
DEPLOYMENTS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "lesson")
LESSON = sorted(path.stem for path in (EXAMPLES / "lesson").glob("*.conf"))
# RFC 7919 appendix A.1.
FFDHE2048 = """\
-----BEGIN X9.42 DH PARAMETERS-----
MIICDAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAgKCAQB//////////9b8KixRXaVN
V+4rEBOennjsXOLB5xabStTwmyCKMhn95knO5xJNn3y+l/GxsYY67HtA2QFXYjC9
ae+Paur+srCSGfqPr4M3aEKxsqqe9o152quJrz+r5JrMJ4Y4cHNFu/FTRO159/Q5
DvisUJtW85qYVmUnpB08vV4FWMFZkn2w6IRUpdlkcf3ctW1bsGv6NA6noVHvHKb6
Vyt287G5XYyFg9PkdwU2uE8BfnDm+/F2YBoCZpQaF7DIuX9OdMLB/8cniRl3eUDB
4f8djaY31rmd2v5eF2EQAuLHeMG+i0HZY3mlE2DZd/1ENaEcMJQuS///////////
-----END X9.42 DH PARAMETERS-----
"""
_PLACE = re.compile(r"(?<!\$)\{([a-z]+\d?)\}")


def copy_deployment(name: str, directory: Path, ports: dict[int, int] | None = None) -> Path:
    """Copy one deployment; returns its main file. ports: by the number written, the number to write instead."""
    place = directory / name
    shutil.copytree(EXAMPLES / name, place)
    (place / "logs").mkdir()
    (place / "certs").mkdir(exist_ok=True)
    certificate, key = make_certificate()
    (place / "certs" / "site.pem").write_bytes(certificate)
    (place / "certs" / "site.key").write_bytes(key)
    (place / "dhparams.pem").write_text(FFDHE2048)
    main = place / "nginx.conf"
    if ports:
        text = main.read_text()
        for written, given in ports.items():
            # Where an address may end: `listen 8080;`, `127.0.0.1:3000/`.
            text, count = re.subn(rf"(?<=[ :]){written}(?=[ ;/])", str(given), text)
            assert count, f"no port {written} in {main}"
        main.write_text(text)
    return main


def copy_lesson(name: str, directory: Path, **places: object) -> Path:
    """Copy one configuration of the lesson with its places filled in; returns its file."""
    text = (EXAMPLES / "lesson" / f"{name}.conf").read_text()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "logs").mkdir()
    file = directory / f"{name}.conf"
    file.write_text(_PLACE.sub(lambda match: str(places[match[1]]), text))
    return file


def in_toml(file: Path) -> Path:
    """The same configuration in TOML, beside the file."""
    twin = file.with_suffix(".toml")
    twin.write_bytes(convert_file(str(file), TOML))
    return twin


@functools.cache
def make_certificate() -> tuple[bytes, bytes]:
    """A certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
