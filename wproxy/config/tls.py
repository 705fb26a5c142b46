"""What TLS needs to be complete: certificates of servers and their keys, and the files for upstreams, gathered.

Nothing is opened here: `wproxy.tls.contexts` and `master.tls_files` do that (nginx: ngx_http_ssl_merge_srv_conf and
ngx_http_ssl_init).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from wproxy.config.scope import Scope
from wproxy.config.tree import Position
from wproxy.directives.listen import Listen
from wproxy.template import Template

# Files that are read wherever they are named, even if they go unused.
ALWAYS_READ = ("ssl_password_file", "proxy_ssl_password_file", "grpc_ssl_password_file", "uwsgi_ssl_password_file",
               "xml_entities", "xslt_stylesheet")  # fmt: skip


class TlsFiles(NamedTuple):
    """The files for TLS with an upstream, as written, each with its place. pairs: certificates and keys, without variables."""

    pairs: tuple[tuple[str, str, Position], ...] = ()
    passwords: str = ""
    trusted: tuple[tuple[str, Position], ...] = ()  # certificates, and revocation lists
    ciphers: tuple[str, Position] | None = None


Report = Callable[[str, Position | None], None]


def _one(scope: Scope, name: str) -> tuple[str, Position] | None:
    value = scope.values.get(name)
    return (value, scope.written[name][-1].position) if value else None


def _some(scope: Scope, *names: str) -> tuple[tuple[str, Position], ...]:
    return tuple(found for name in names if (found := _one(scope, name)))


def check_server(scope: Scope, problem: Report) -> bool:
    """Check that what a server needs for TLS is there; return whether it can take a handshake, if only to refuse it."""
    certificates: tuple[Template, ...] = scope.values.get("ssl_certificate", ())
    keys: tuple[Template, ...] = scope.values.get("ssl_certificate_key", ())
    if not certificates:
        return bool(scope.values.get("ssl_reject_handshake"))
    if len(keys) < len(certificates):
        missing = certificates[len(keys)]
        place = scope.written["ssl_certificate"][len(keys)].position
        problem(f'no "ssl_certificate_key" is defined for certificate "{missing.text}"', place)
    if scope.values.get("ssl_verify_client") in ("on", "optional") and not _some(
        scope, "ssl_client_certificate", "ssl_trusted_certificate"
    ):
        text = "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client"
        problem(text, scope.written["ssl_verify_client"][-1].position)
    if scope.values.get("ssl_ocsp") not in (None, "off") and scope.values.get("ssl_verify_client") == "optional_no_ca":
        text = '"ssl_ocsp" is incompatible with "ssl_verify_client optional_no_ca"'
        problem(text, scope.written["ssl_ocsp"][-1].position)
    if scope.values.get("ssl_stapling") and scope.values.get("ssl_certificate_compression"):
        text = '"ssl_stapling" is incompatible with "ssl_certificate_compression"'
        problem(text, scope.written["ssl_stapling"][-1].position)
    return True


def _pairs(
    certificates: Iterable[Template], keys: Iterable[Template], places: Iterable[Position]
) -> Iterable[tuple[str, str, Position]]:
    for certificate, key, place in zip(certificates, keys, places):
        # Files whose names have variables are read at the handshake.
        if certificate.constant is not None and key.constant is not None:
            yield certificate.text, key.text, place


def upstream_files(scope: Scope, module: str, problem: Report) -> TlsFiles:
    """Return the files of a location that uses TLS with an upstream."""
    certificate: Template | None = scope.values.get(f"{module}_ssl_certificate")
    key: Template | None = scope.values.get(f"{module}_ssl_certificate_key")
    trusted: tuple[tuple[str, Position], ...] = ()
    if scope.values.get(f"{module}_ssl_verify"):
        trusted = _some(scope, f"{module}_ssl_trusted_certificate", f"{module}_ssl_crl")
        if not scope.values.get(f"{module}_ssl_trusted_certificate"):
            place = scope.written[f"{module}_ssl_verify"][-1].position
            problem(f"no {module}_ssl_trusted_certificate for {module}_ssl_verify", place)
    pairs: Any = ()
    if certificate is not None:
        place = scope.written[f"{module}_ssl_certificate"][-1].position
        if key is None:
            problem(f'no "{module}_ssl_certificate_key" is defined for certificate "{certificate.text}"', place)
        else:
            pairs = tuple(_pairs((certificate,), (key,), (place,)))
    passwords = scope.values.get(f"{module}_ssl_password_file") or ""
    return TlsFiles(pairs, passwords, trusted, ciphers=_one(scope, f"{module}_ssl_ciphers"))


def is_secure(listen: Listen) -> str:
    """Return the protocol of a `listen` line that needs a certificate; "" for none."""
    return next((word for word in ("ssl", "quic") if word in listen.protocols), "")
