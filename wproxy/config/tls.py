"""The files that TLS directives name, gathered from a configuration: which belong together, and which are missing.

Nothing is opened here: `master.tls_files` does that (nginx: ngx_http_ssl_merge_srv_conf and ngx_http_ssl_init).
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
    """The files of one side of TLS, as written, each with its place. pairs: certificates and keys, without variables."""

    pairs: tuple[tuple[str, str, Position], ...] = ()
    passwords: str = ""
    trusted: tuple[tuple[str, Position], ...] = ()  # certificates, and revocation lists
    dhparam: tuple[str, Position] | None = None
    ciphers: tuple[str, Position] | None = None
    tickets: tuple[tuple[str, Position], ...] = ()


Report = Callable[[str, Position | None], None]


def _one(scope: Scope, name: str) -> tuple[str, Position] | None:
    value = scope.values.get(name)
    return (value, scope.written[name][-1].position) if value else None


def _some(scope: Scope, *names: str) -> tuple[tuple[str, Position], ...]:
    return tuple(found for name in names if (found := _one(scope, name)))


def server_files(scope: Scope, problem: Report) -> TlsFiles | None:
    """Return the files of a server; None when it has no certificate."""
    certificates: tuple[Template, ...] = scope.values.get("ssl_certificate", ())
    keys: tuple[Template, ...] = scope.values.get("ssl_certificate_key", ())
    if not certificates:
        return None
    places = [line.position for line in scope.written["ssl_certificate"]]
    if len(keys) < len(certificates):
        missing = certificates[len(keys)]
        problem(f'no "ssl_certificate_key" is defined for certificate "{missing.text}"', places[len(keys)])
    if scope.values.get("ssl_verify_client") in ("on", "optional") and not _some(
        scope, "ssl_client_certificate", "ssl_trusted_certificate"
    ):
        text = "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client"
        problem(text, scope.written["ssl_verify_client"][-1].position)
    tickets = zip(scope.values.get("ssl_session_ticket_key", ()), scope.written.get("ssl_session_ticket_key", ()))
    return TlsFiles(
        tuple(_pairs(certificates, keys, places)),
        scope.values.get("ssl_password_file") or "",
        _some(scope, "ssl_trusted_certificate", "ssl_crl"),
        _one(scope, "ssl_dhparam"),
        _one(scope, "ssl_ciphers"),
        tuple((path, line.position) for path, line in tickets),
    )


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
