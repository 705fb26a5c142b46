"""Whether the files in TLS directives can be used: they are loaded as a server would load them, and forgotten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from wproxy.config.model import Configuration
from wproxy.config.tls import TlsFiles
from wproxy.config.tree import Position, Problem

if TYPE_CHECKING:
    import ssl

TICKET_SIZES = (48, 80)


def tls_problems(configuration: Configuration) -> list[Problem]:
    """Return the problems of these files, each once."""
    problems: list[Problem] = []
    for path, position in configuration.read_at_start:
        try:
            with open(configuration.path_beside(path), "rb"):
                pass
        except OSError as error:
            problems.append(_unopened(configuration.path_beside(path), error, position))
    for files in dict.fromkeys(configuration.tls_files):
        problems += _problems(configuration, files)
    return list(dict.fromkeys(problems))


def _unopened(path: str, error: OSError, position: Position) -> Problem:
    return Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})', position)


def _problems(configuration: Configuration, files: TlsFiles) -> Iterator[Problem]:
    import ssl  # 15 ms, needed only for certificates

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = configuration.path_beside
    passwords = _passwords(path(files.passwords)) if files.passwords else [b""]
    for certificate, key, position in files.pairs:
        if certificate.startswith("data:") or key.startswith(("data:", "engine:", "store:")):
            continue  # no file
        yield from _pair_problem(context, path(certificate), path(key), passwords, position)
    for written, position in files.trusted:
        yield from _attempt(f'cannot load certificate "{path(written)}"', position, context.load_verify_locations, path(written))
    if files.dhparam is not None:
        written, position = files.dhparam
        yield from _attempt(f'cannot load DH parameters "{path(written)}"', position, context.load_dh_params, path(written))
    if files.ciphers is not None:
        ciphers, position = files.ciphers
        yield from _attempt(f'SSL_CTX_set_cipher_list("{ciphers}") failed', position, context.set_ciphers, ciphers)
    for written, position in files.tickets:
        try:
            if os.stat(path(written)).st_size not in TICKET_SIZES:
                yield Problem(f'"{path(written)}" must be 48 or 80 bytes', position)
        except OSError as error:
            yield _unopened(path(written), error, position)


def _pair_problem(
    context: ssl.SSLContext, certificate: str, key: str, passwords: list[bytes], position: Position
) -> Iterator[Problem]:
    """Find the problems of a certificate and its key: one of them cannot be read, or they do not match."""
    for what, file in (("certificate", certificate), ("certificate key", key)):
        if not os.access(file, os.R_OK):
            reason = "Permission denied" if os.path.exists(file) else "No such file or directory"
            yield Problem(f'cannot load {what} "{file}": {reason}', position)
            return
    problems: list[Problem] = []
    for password in passwords:
        problems = list(_attempt(f'cannot load certificate "{certificate}" with the key "{key}"', position,
                                 context.load_cert_chain, certificate, key, lambda password=password: password))  # fmt: skip
        if not problems:
            return
    yield from problems[:1]


def _passwords(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().splitlines() or [b""]
    except OSError:
        return [b""]  # reported already


def _attempt(what: str, position: Position, load: Callable[..., object], *arguments: object) -> Iterator[Problem]:
    try:
        load(*arguments)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        yield Problem(f"{what}: {_reason(error)}", position)


def _reason(error: OSError | ValueError) -> str:
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    if "PEM" in text or text == "NO_CERTIFICATE_OR_CRL_FOUND":
        return "there is nothing of that kind in PEM form in it"
    return text.lower().replace("_", " ") if text.isupper() else text
