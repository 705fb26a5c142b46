"""TLS without a socket: a client that trusts anybody, and both ends of a handshake in memory."""

from __future__ import annotations

import ssl
from typing import Any


def trusting_anybody(**settings: Any) -> ssl.SSLContext:
    """Return the context of a client that accepts every certificate; settings are attributes of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None, name: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return the server's and the client's end after their handshake. name: of the server, as the client sends it.

    Raises SSLError.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    done = set()
    for _ in range(4):
        for end in (theirs, ours):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    assert len(done) == 2
    ours.write(b"x")  # the first bytes bring the client its session
    assert theirs.read(1) == b"x"
    return ours, theirs
