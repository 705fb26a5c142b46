"""The arguments of the TLS directives, for clients and for upstreams (nginx: ngx_http_ssl_module.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.directives.open_file_cache import seconds
from wproxy.directives.zones import LEAST, Zone, zone_size

PROTOCOLS = ("sslv2", "sslv3", "tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3")


class SessionCache(NamedTuple):
    """An `ssl_session_cache`. mode: off, none or on; builtin: sessions kept by each worker, 0 for as many as OpenSSL keeps."""

    mode: str
    builtin: int | None = None
    zone: Zone | None = None


class CertificateCache(NamedTuple):
    """A cache of certificates with variables in their names: how many, how long unused, how long until the file is checked."""

    most: int
    inactive: float = 10.0
    valid: float = 60.0


def session_cache(*words: str) -> SessionCache:
    """Read `off`, `none`, or `builtin[:SIZE]` and `shared:NAME:SIZE`."""
    mode, builtin, zone = "on", None, None
    for word in words:
        kind, colon, rest = word.partition(":")
        if word in ("off", "none"):
            mode = word
        elif word == "builtin":
            builtin = 0
        elif kind == "builtin" and rest.isascii() and rest.isdigit() and len(rest) < 10:
            builtin = int(rest)
        elif kind == "shared" and colon:
            zone = _shared("session cache", "ssl_session_cache", rest, word)
        else:
            raise ValueError(f'invalid session cache "{word}"')
    return SessionCache(mode, builtin, zone)


def ocsp_cache(word: str) -> Zone | None:
    """Read `off` or `shared:NAME:SIZE`."""
    if word == "off":
        return None
    kind, _, rest = word.partition(":")
    if kind != "shared":
        raise ValueError(f'invalid OCSP cache "{word}"')
    return _shared("OCSP cache", "ssl_ocsp_cache", rest, word)


def _shared(what: str, kind: str, text: str, written: str) -> Zone:
    name, _, size = text.partition(":")
    if not name or not zone_size(size):
        raise ValueError(f'invalid {what} "{written}"')
    if zone_size(size) < LEAST:
        raise ValueError(f'{what} "{written}" is too small')
    return Zone(kind, name, zone_size(size))


def certificate_cache(directive: str) -> Callable[..., CertificateCache | None]:
    """Return a reader of `off`, or `max=NUMBER [inactive=TIME] [valid=TIME]`."""

    def read(*words: str) -> CertificateCache | None:
        most = 0
        times: dict[str, float] = {}
        for word in words:
            name, _, value = word.partition("=")
            if name == "max" and value.isascii() and value.isdigit() and len(value) < 10 and int(value):
                most = int(value)
            elif name in ("inactive", "valid"):
                try:
                    times[name] = seconds(value)
                except ValueError:
                    raise ValueError(f'invalid parameter "{word}"') from None
            elif word != "off":
                raise ValueError(f'invalid parameter "{word}"')
        if "off" in words:
            return None
        if not most:
            raise ValueError(f'"{directive}" must have the "max" parameter')
        return CertificateCache(most, **times)

    return read
