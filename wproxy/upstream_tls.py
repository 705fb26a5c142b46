"""How connections to upstreams are encrypted: the settings of a location as one value.

Locations with equal settings share a context, and with it sessions and idle connections. The master makes the contexts as
root, before it forks: workers need not be able to read the keys (nginx: ngx_http_proxy_set_ssl). A worker makes those whose
certificates have variables in their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from wproxy.config.model import Configuration, Location
from wproxy.config.tree import Position
from wproxy.directives.certificates import CertificateCache
from wproxy.directives.proxy import ProxyTarget
from wproxy.template import Template

if TYPE_CHECKING:
    pass

# Modules whose upstreams may speak TLS, by the word that begins the names of their directives.
MODULES = ("proxy", "grpc", "uwsgi")
# How many certificates with variables in their names are kept where proxy_ssl_certificate_cache does not say.
MOST_CERTIFICATES = 64
# What stands before a certificate that is written in place of a file.
DATA = "data:"


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
