"""Opening an encrypted connection to a peer: connect and shake hands, both within proxy_connect_timeout."""

from __future__ import annotations

import _socket

from worker.loop import Loop
from worker.stream import Stream
from worker.upstream.connect import connect
from worker.upstream.manner import Manner
from worker.upstream.passing import LiveAttempt
from worker.upstream.tls.stream import UpstreamTlsStream
from wproxy.failures import UpstreamFailure


async def open_secured(attempt: LiveAttempt, manner: Manner) -> Stream:
    """Return a new connection to the attempt's peer on which hands were shaken. Raises UpstreamFailure, CannotConnect."""
    peer, seconds, secured = attempt.live_peer, attempt.passing.connect_timeout, manner.secured
    assert secured is not None

    def make_stream(loop: Loop, sock: _socket.socket) -> Stream:
        return UpstreamTlsStream(loop, sock, peer.name, secured)

    loop = attempt.passing.group.loop
    began = loop.clock.now
    stream = await connect(loop, peer, seconds, manner, make_stream)
    assert isinstance(stream, UpstreamTlsStream)
    stream.send_without_delay()
    attempt.is_handshaking = True
    try:
        await stream.secure(seconds - (loop.clock.now - began))
    except BaseException as error:
        if isinstance(error, UpstreamFailure):
            peer.counters.not_secured(stream.reason)
        stream.close()
        raise
    peer.counters.secured(bool(stream.tls.session_reused))
    attempt.is_handshaking = False
    return stream
