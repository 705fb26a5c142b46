"""How connections to upstreams are encrypted: the settings of a location as one value, and OpenSSL's context made of it.

Locations with equal settings share a context, and with it sessions and idle connections. The master makes the contexts as
root, before it forks: workers need not be able to read the keys (nginx: ngx_http_proxy_set_ssl). A worker makes those whose
certificates have variables in their names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from wproxy.config.model import Configuration, Location
from wproxy.config.tree import Position
from wproxy.directives.certificates import CertificateCache
from wproxy.directives.proxy import ProxyTarget
from wproxy.template import Template

if TYPE_CHECKING:
    import ssl

# Modules whose upstreams may speak TLS, by the word that begins the names of their directives.
MODULES = ("proxy", "grpc", "uwsgi")
# How many certificates with variables in their names are kept where proxy_ssl_certificate_cache does not say.
MOST_CERTIFICATES = 64
# What stands before a certificate that is written in place of a file.
DATA = "data:"
# OpenSSL refuses the signatures of old versions unless everything is allowed.
_OLD = ("tlsv1", "tlsv1.1")


class UpstreamTls(NamedTuple):
    """The settings that make a context; paths are absolute, "" is none.

    protocols: in lower case. commands: those of proxy_ssl_conf_command. kept_certificates: how many with variables in
    their names are kept. alpn: the protocols to ask for inside of TLS.
    """

    protocols: frozenset[str]
    ciphers: str
    verifies: bool
    depth: int
    trusted: str
    revoked: str
    certificate: str
    key: str
    passwords: str
    commands: tuple[tuple[str, str], ...]
    reuses_sessions: bool
    kept_certificates: int
    alpn: tuple[str, ...] = ()


class _Settings(NamedTuple):
    """The directives of one module in a location, by the words that all modules share."""

    location: Location
    module: str

    def get(self, word: str, otherwise: Any = None) -> Any:
        return getattr(self.location, f"{self.module}_{word}", otherwise)


def upstream_tls(location: Location, module: str, absolute: Callable[[str], str]) -> UpstreamTls:
    """Return the settings of a location. absolute: makes the paths of files absolute."""
    settings = _Settings(location, module)

    def path(text: str | None) -> str:
        if not text or text.startswith(DATA):
            return text or ""
        return absolute(text)

    certificate: Template | None = settings.get("ssl_certificate")
    key: Template | None = settings.get("ssl_certificate_key")
    pair = ("", "")
    if certificate is not None and key is not None and certificate.constant is not None and key.constant is not None:
        pair = (path(certificate.text), path(key.text)) if certificate.text else pair
    cache: CertificateCache | None = settings.get("ssl_certificate_cache")
    verifies = settings.get("ssl_verify", False)
    return UpstreamTls(
        settings.get("ssl_protocols", frozenset(("tlsv1.2", "tlsv1.3"))),
        settings.get("ssl_ciphers") or "DEFAULT",
        verifies,
        settings.get("ssl_verify_depth", 1),
        path(settings.get("ssl_trusted_certificate")) if verifies else "",
        path(settings.get("ssl_crl")) if verifies else "",
        *pair,
        path(settings.get("ssl_password_file")),
        settings.get("ssl_conf_command", ()),
        settings.get("ssl_session_reuse", True),
        MOST_CERTIFICATES if cache is None else cache.most,
        ("h2",) if module == "grpc" or settings.get("http_version", 0) == 20 else (),
    )


def needed_contexts(configuration: Configuration) -> Iterator[tuple[UpstreamTls, Position]]:
    """Yield the settings of all contexts that a configuration needs, with the place of a location that does."""
    for server in configuration.servers:
        for location in server.each_location():
            for module in MODULES:
                target: ProxyTarget | None = getattr(location, f"{module}_target", None)
                if target is not None and target.may_be_secure:
                    yield (
                        upstream_tls(location, module, configuration.path_beside),
                        location.origins.get(f"{module}_pass", location.position),
                    )


# Making a context.


class CannotSecure(Exception):
    """A context cannot be made; the message is in nginx's words, with the file."""


def make_context(tls: UpstreamTls) -> ssl.SSLContext:
    """Make the context of these settings. Raises CannotSecure."""
    import ssl  # 15 ms, needed only for TLS

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are compared as nginx does: worker.upstream.peer_name
    context.verify_mode = ssl.CERT_REQUIRED if tls.verifies else ssl.CERT_NONE
    _limit_versions(context, tls.protocols)
    ciphers = tls.ciphers
    if any(version in tls.protocols for version in _OLD) and "@SECLEVEL" not in ciphers:
        ciphers += ":@SECLEVEL=0"
    with _blamed(f'SSL_CTX_set_cipher_list("{tls.ciphers}") failed'):
        context.set_ciphers(ciphers)
    if tls.trusted:
        with _blamed(f'cannot load certificates "{tls.trusted}"'):
            context.load_verify_locations(tls.trusted)
    if tls.revoked:
        with _blamed(f'cannot load revocation list "{tls.revoked}"'):
            context.load_verify_locations(tls.revoked)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if tls.certificate:
        _load_certificate(context, tls)
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def _limit_versions(context: ssl.SSLContext, protocols: frozenset[str]) -> None:
    import ssl
    import warnings

    versions = {
        "tlsv1": (ssl.TLSVersion.TLSv1, ssl.OP_NO_TLSv1),
        "tlsv1.1": (ssl.TLSVersion.TLSv1_1, ssl.OP_NO_TLSv1_1),
        "tlsv1.2": (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2),
        "tlsv1.3": (ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3),
    }
    wanted = [version for name, (version, _) in versions.items() if name in protocols]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the configuration asks for them
        if not wanted:  # SSLv2 and SSLv3 alone: OpenSSL has neither
            raise CannotSecure("no protocol is left: SSLv2 and SSLv3 are no longer supported")
        context.minimum_version, context.maximum_version = wanted[0], wanted[-1]
        for name, (_, option) in versions.items():
            if name not in protocols:
                context.options |= option


def _load_certificate(context: ssl.SSLContext, tls: UpstreamTls) -> None:
    with _blamed(f'cannot load certificate "{tls.certificate}" with the key "{tls.key}"'):
        passwords = read_passwords(tls.passwords) if tls.passwords else [b""]
        with _as_file(tls.certificate) as certificate, _as_file(tls.key) as key:
            for tried, password in enumerate(passwords, 1):
                try:
                    # A function, because without one OpenSSL would ask at the terminal.
                    context.load_cert_chain(certificate, key, lambda password=password: password)
                except OSError:
                    if tried == len(passwords):
                        raise
                else:
                    break


def read_passwords(path: str) -> list[bytes]:
    """Return the passphrases in a file, one a line. Raises OSError."""
    with open(path, "rb") as file:
        return file.read().splitlines() or [b""]


@contextmanager
def _as_file(path: str) -> Iterator[str]:
    """Give the path of a file with this content: `data:` is followed by the content itself. Raises OSError."""
    if not path.startswith(DATA):
        yield path
        return
    memory = os.memfd_create("certificate")
    try:
        os.write(memory, path.removeprefix(DATA).encode("utf-8", "surrogateescape"))
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Turn OpenSSL's errors into CannotSecure."""
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CannotSecure(f"{what}: {_reason(error)}") from None


def _reason(error: OSError | ValueError) -> str:
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return text.lower().replace("_", " ") if text.isupper() else text
