"""An encrypted stream: OpenSSL between two buffers in memory, and the socket on the other side of them.

`SSLContext.wrap_bio` and not `SSLSocket`: a blocked SSLSocket takes all of a write or nothing, and reads each record with two
system calls. Here OpenSSL takes a piece whole, and the ciphertext that the socket does not take is put aside: one piece at most,
because no further one is taken before it has gone. That is the bound of memory for a client that does not read.

Received records are decrypted one by one, when they are read. What has left the socket and was not read yet, decrypted or not, is
what the stream `holds`.

All streams of a process share the two buffers. What has come is put into the one and OpenSSL is called; then what it has not
taken and what it wants to be sent is taken out, before anything else happens. So both are empty between two calls, whatever comes
of them: whoever adds a call has to see to that. A buffer keeps the size that it once had, so two for each connection took 2 KB of
an idle one, and 55 KB after a long answer.

After a failure OpenSSL's connection must not be touched any more: the stream remembers its failure and raises it at each call.

A server reads the first message before there is a context, so its stream is clear until `begin`.
"""

from __future__ import annotations

import _socket
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NoReturn

from worker.loop import READ, Loop, park
from worker.stream import CHUNK, HEAD_CHUNK, Stream
from worker.tls.failures import HANDSHAKING, READING, WRITING, TlsFailure, failure_of
from wproxy.native import mypyc_attr

# The most that one record carries: whoever reads so much has all of one, and OpenSSL keeps nothing that it has decrypted.
RECORD: Final = 16384
# The most that one `send` encrypts: two records with one system call.
PIECE: Final = 2 * RECORD
# The answers that OpenSSL gives by itself come on top of a piece; one who asks for them without end and reads none is not served.
MOST_PUT_ASIDE: Final = 4 * PIECE

_NOTHING: Final = memoryview(b"")

_read: Final[Callable[[int, int], bytes]] = os.read
_write: Final[Callable[[int, bytes | memoryview], int]] = os.write

_INCOMING: Final = ssl.MemoryBIO()
_OUTGOING: Final = ssl.MemoryBIO()


@mypyc_attr(allow_interpreted_subclasses=True)
class TlsStream(Stream):
    """A stream that carries its bytes encrypted, as a server or as a client; `begin` and `handshake` come before everything else.

    tls: OpenSSL's connection, for what was agreed with the other side.
    """

    __slots__ = (
        "_failure",
        "_has_said_end",
        "_has_seen_end",
        "_is_resetting",
        "_kept_back",
        "_plain",
        "_put_aside",
        "_undecrypted",
        "tls",
    )

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """context: that of a client; a server calls `begin`. The rest: see there."""
        super().__init__(loop, sock)
        self._undecrypted = self._plain = b""
        self._put_aside = _NOTHING
        self._kept_back = b""  # a ticket that waits for what is sent next
        self._failure: OSError | None = None
        self._has_seen_end = self._is_resetting = False
        self._has_said_end = True  # there are no words for it yet
        if context is not None:
            self.begin(context, False, server_hostname, session)

    def begin(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
        received: bytes = b"",
    ) -> None:
        """Encrypt from now on.

        server_hostname: the name that a client sends (SNI). session: one to resume, of a client with the same context. received:
        the bytes that have been read from the socket already.
        """
        self.kernel_fd = -1
        # `wrap_bio` would put it into an SSLObject, through which each call takes 0.2 us more.
        name = None if server_hostname is None else context._encode_hostname(server_hostname)  # type: ignore[attr-defined]
        self.tls: Any = context._wrap_bio(  # type: ignore[attr-defined]
            _INCOMING, _OUTGOING, server_side=server_side, server_hostname=name, session=session
        )
        self._undecrypted = received
        self._has_said_end = False

    # The handshake.

    async def handshake(self, seconds: float) -> None:
        """Agree with the other side, within so many seconds. Raises TimedOut, TlsFailure, OSError."""
        clock = self.loop.clock
        deadline = clock.now + seconds
        do_handshake = self.tls.do_handshake
        while True:
            _INCOMING.write(self._undecrypted)
            self._undecrypted = b""
            try:
                do_handshake()
            except ssl.SSLWantReadError:
                self._send_out()
            except ssl.SSLError as error:
                self._fail(HANDSHAKING, error)
            except BaseException:
                forget_all()
                raise
            else:
                break
            if self._failure is not None:
                raise self._failure
            while True:
                # The other side answers what we have just sent. Asking OpenSSL, or the socket, before it has costs 10 us.
                await park(self, READ, deadline - clock.now)
                try:
                    self._undecrypted = self._receive()
                except BlockingIOError:
                    continue
                except OSError as lost:
                    self._failure = lost
                    raise
                break
            if self._has_seen_end:
                self._failure = TlsFailure("peer closed connection in SSL handshake")
                raise self._failure
        if _INCOMING.pending:
            self._read_first()
            if self._plain and self.tls.server_side and self.tls.version() == "TLSv1.3":
                # All that is left to say is a ticket. The request is here already, so it goes out with the answer.
                self._kept_back = _OUTGOING.read()
                return
        # It must not wait otherwise: a client without TCP_NODELAY sends its request when its last bytes are acknowledged, which
        # happens with what we send, or 40 ms later.
        self._send_out()
        self._raise_failure()

    def _read_first(self) -> None:
        """Decrypt the first of the bytes that have come together with the end of the handshake. A failure is raised later."""
        try:
            self._plain = self.tls.read(RECORD)
            self._has_seen_end = not self._plain
        except ssl.SSLWantReadError:
            pass  # half a record
        except ssl.SSLError as error:
            self._note_failure(READING, error)
        except BaseException:
            forget_all()
            raise
        self._undecrypted = _INCOMING.read()
        self.holds = True
        if not self.tls.server_side:
            self.loop.ready(self)  # a server asks for them at once

    def take_at_hand(self) -> bytes:
        """Return the bytes that have come together with the end of the handshake; b"" without. A failure is raised later.

        A server calls this after each handshake, before a task parks.
        """
        if not self.holds:
            return b""
        data, self._plain = self._plain, b""
        self.holds = False
        if self._undecrypted or self._has_seen_end or self._failure is not None:
            self._hold(True)
        return data

    @property
    def alpn(self) -> str | None:
        """Return the application protocol that was agreed on; None without."""
        protocol: str | None = self.tls.selected_alpn_protocol()
        return protocol

    @property
    def session(self) -> ssl.SSLSession | None:
        """Return the session, for a client to resume: in TLS 1.3 there is none before the first bytes have been read."""
        session: ssl.SSLSession | None = self.tls.session
        return session

    # Receiving.

    def recv(self, most: int) -> bytes:
        """Return decrypted bytes, at most so many; b"" at the end. Raises BlockingIOError, OSError."""
        if not (self.holds or self._has_seen_end or self._has_said_end or self._failure):
            # Nearly always a single record comes. Without all the questions below this costs 2.9 us and not 3.9.
            wire = _read(self.fd, HEAD_CHUNK if most <= HEAD_CHUNK else CHUNK)
            if wire:
                _INCOMING.write(wire)
                try:
                    data: bytes = self.tls.read(RECORD)
                except ssl.SSLWantReadError:
                    self.holds = True
                except ssl.SSLError as error:
                    self._fail(READING, error)
                except BaseException:
                    forget_all()
                    raise
                else:
                    if data and not (_OUTGOING.pending or _INCOMING.pending) and len(data) <= most:
                        return data
                    self._plain = data
                    self._has_seen_end = not data
                    self._undecrypted = _INCOMING.read()
                    if _OUTGOING.pending:
                        self._send_out()  # new keys
            else:
                self._has_seen_end = True
        if self._has_said_end and not self._plain:
            # Nobody is answered any more: the bytes are of no use but to be read away. (So does nginx, in lingering.)
            self.holds = False
            return _read(self.fd, most)
        if not self._plain and not self._has_seen_end and not self._decrypt(most):
            raise BlockingIOError
        data = self._plain
        if len(data) > most:
            data, self._plain = data[:most], data[most:]
        else:
            self._plain = b""
        holds = bool(self._plain or self._undecrypted or self._has_seen_end or self._failure)
        if holds or self.holds:
            self._hold(holds)
        return data

    def _decrypt(self, most: int = 1) -> bool:
        """Have the next decrypted bytes at hand, about so many if they have come, or know of the end; return whether.

        Raises OSError.
        """
        if self._failure is not None:
            raise self._failure
        wire = self._undecrypted if self.holds else self._receive_if_any()
        if wire is None:
            return False
        self._undecrypted = b""
        inner = self.tls
        pieces: list[bytes] = []
        size = 0
        _INCOMING.write(wire)
        while not self._has_seen_end:
            try:
                piece = inner.read(RECORD)
            except ssl.SSLWantReadError:
                # Half a record, or what only OpenSSL has to know.
                wire = None if pieces else self._receive_if_any()
                if wire is None:
                    break
                _INCOMING.write(wire)
            except ssl.SSLError as error:
                if not pieces:
                    self._fail(READING, error)
                self._note_failure(READING, error)
                break
            except BaseException:
                forget_all()
                raise
            else:
                if not piece:
                    self._has_seen_end = True
                    break
                pieces.append(piece)
                size += len(piece)
                if size >= most or not _INCOMING.pending:
                    break
        self._undecrypted = _INCOMING.read()
        if _OUTGOING.pending or not pieces:
            self._send_out()  # an alert, or new keys
        self._plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if pieces or self._has_seen_end:
            return True
        self.holds = False
        return False

    def _receive_if_any(self) -> bytes | None:
        """Return what the socket has, as `_receive` does; None if it has nothing. Raises OSError."""
        try:
            return self._receive()
        except BlockingIOError:
            return None
        except OSError as error:
            forget_all()
            self._failure = error
            raise

    def _receive(self) -> bytes:
        """Return what the socket has; b"" at its end. Raises BlockingIOError, OSError."""
        wire = _read(self.fd, CHUNK)
        if not wire:
            # An end without "close_notify" is an end, as in nginx (SSL_OP_IGNORE_UNEXPECTED_EOF).
            self._has_seen_end = True
        return wire

    def _hold(self, holds: bool) -> None:
        self.holds = holds
        if holds:
            self.loop.ready(self)

    def _look(self) -> bool:
        """Decrypt what has come, if nothing is at hand; return whether the connection stands."""
        if self.fd < 0 or self._failure is not None:
            return False
        if not self._plain and not self._has_seen_end:
            try:
                if self._decrypt():
                    self._hold(True)
            except OSError:
                return False
        return True

    def has_unread(self) -> bool:
        """Whether decrypted bytes (not an end) wait to be read."""
        if not self.holds and not super().has_unread():
            return False  # as at the end of nearly every connection; a read that is refused costs more
        return self._look() and bool(self._plain)

    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing unrequested has arrived; what only OpenSSL has to know is nothing."""
        if not self.holds and self._failure is None and super().is_quiet():
            return True
        return self._look() and not self._plain and not self._has_seen_end

    def has_departed(self) -> bool:
        """Whether the other side has said its end, has closed or reset, and nothing is unread."""
        return not self._look() or (self._has_seen_end and not self._plain)

    def has_ended(self) -> bool:
        """Whether the other side has closed its socket: one that has only said its end may wait for an answer, as in nginx."""
        return self._failure is not None or super().has_ended()

    # Sending.

    def send_last(self, data: bytes | memoryview) -> int:
        """Send as `send` does, and the words of the end with it, if it goes out at once. Raises BlockingIOError, OSError."""
        # OpenSSL must not find data where it looks for the other side's end.
        is_whole = len(data) <= PIECE and not (self.holds or self._has_said_end)
        return self.send(data, is_whole)

    def send(self, data: bytes | memoryview, /, is_last: bool = False) -> int:
        """Encrypt a piece and send it, or put it aside; return its length. Raises BlockingIOError, OSError."""
        if self._failure is not None:
            raise self._failure
        if self._put_aside:
            raise BlockingIOError
        if not data:
            return 0
        try:
            size: int = self.tls.write(data if len(data) <= PIECE else memoryview(data)[:PIECE])
        except ssl.SSLError as error:
            self._fail(WRITING, error)
        except BaseException:
            forget_all()
            raise
        if is_last:
            self._say_end()
            self._has_said_end = True
        wire = _OUTGOING.read()
        if self._kept_back:
            wire, self._kept_back = self._kept_back + wire, b""
        try:
            sent = _write(self.fd, wire)
        except BlockingIOError:
            sent = 0
        except OSError as lost:
            self._failure = lost
            raise
        if sent < len(wire):
            self._put_by(memoryview(wire)[sent:])
        return size

    def _put_by(self, wire: memoryview) -> None:
        self._put_aside = wire
        self.flush = self._send_on
        self.loop.flush_soon(self)

    def _send_out(self) -> None:
        """Send what OpenSSL has to say, after that which was put aside. A failure is raised by the next call that sends."""
        wire = _OUTGOING.read()
        if self._kept_back:
            wire, self._kept_back = self._kept_back + wire, b""
        if not wire:
            return
        if not self._put_aside:
            # As it nearly always is.
            try:
                sent = _write(self.fd, wire)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._failure = error
                return
            if sent < len(wire):
                self._put_by(memoryview(wire)[sent:])
            return
        if len(self._put_aside) > MOST_PUT_ASIDE:
            self._failure = TlsFailure("too much is to be sent to a side that does not read")
            return
        self._put_aside = memoryview(bytes(self._put_aside) + wire)
        self._send_on()

    def _send_on(self) -> bool:
        """Send what was put aside, as far as the socket takes it (Waitable.flush)."""
        wire = self._put_aside
        try:
            while wire:
                sent = _write(self.fd, wire)
                wire = wire[sent:]
            if self._has_said_end:
                self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self._put_by(wire)
            return False
        except OSError as error:
            self._failure, wire = error, memoryview(b"")
        self._put_aside = wire
        self.flush = None
        return True

    # The end.

    def end_sending(self) -> None:
        """Tell the other side that nothing more follows. Raises OSError."""
        if not self._has_said_end:
            self._look()  # OpenSSL must not find data where it looks for the other side's end
            self._say_end()
            self._has_said_end = True
        self._send_out()
        if not self._put_aside:
            self._send_on()
        self._raise_failure()

    async def finished(self, seconds: float) -> None:
        """Send what was put aside, and the words of the end. Raises TimedOut.

        `close` says them too, but cannot wait for room: without them a client has to take its answer for a part of it.
        """
        await self.drained(seconds)
        if self.fd < 0 or self._is_resetting or self._has_said_end or self._failure is not None:
            return
        self._say_end()
        self._has_said_end = True
        wire = memoryview(self._words())
        try:
            sent = _write(self.fd, wire)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(wire):
            self._put_by(wire[sent:])
            await self.drained(seconds)

    def has_finished(self) -> bool:
        """Whether all has been sent, and the words of the end, if they can be."""
        return self.flush is None and (self._has_said_end or self._failure is not None)

    def _words(self) -> bytes:
        """Take what OpenSSL wants to be sent, with what was kept back for it."""
        wire = self._kept_back + _OUTGOING.read()
        self._kept_back = b""
        return wire

    def _say_end(self) -> None:
        """Have OpenSSL write its "close_notify"; the caller sends it."""
        if self._failure is None:
            try:
                self.tls.shutdown()
            except (ssl.SSLError, ValueError, OSError):
                pass  # the other side has not said its end yet, or even sends more
            except BaseException:
                forget_all()
                raise

    def reset_on_close(self) -> None:
        """Make the following close a reset, without a word of the end."""
        self._is_resetting = True
        super().reset_on_close()

    def close(self) -> None:
        """Say the end, leave the loop and close; closing twice is allowed."""
        has_words = self._failure is None and not (self._is_resetting or self._has_said_end or self._put_aside)
        # The collector may close a stream while OpenSSL is called for another one.
        if has_words and self.fd >= 0 and not _OUTGOING.pending:
            self._say_end()
            try:
                _write(self.fd, self._words())
            except OSError:
                pass
        super().close()
        # As with `unexpected`: without the cycles. The traceback of a failure that was raised leads back here.
        self.flush = self._failure = None
        self._put_aside = _NOTHING

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _note_failure(self, call: str, error: ssl.SSLError) -> None:
        """Remember a failure, and send the alert that OpenSSL has left for the other side."""
        _INCOMING.read()
        self._send_out()
        self._failure = failure_of(call, error)

    def _fail(self, call: str, error: ssl.SSLError) -> NoReturn:
        """Raise a failure, from now on at every call."""
        self._note_failure(call, error)
        assert self._failure is not None
        raise self._failure from None


def forget_all() -> None:
    """Empty the buffers where what OpenSSL has left cannot be sent any more: no other connection may meet it."""
    _INCOMING.read()
    _OUTGOING.read()
