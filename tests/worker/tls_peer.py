"""A peer that speaks TLS, in a conversation (see `conversation`)."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from conversation import End, Peer


class TlsSocket:
    """One end of an encrypted connection that behaves like a non-blocking socket."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.wire = bytearray()  # all that was received

    def fileno(self) -> int:
        return self.sock.fileno()

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, *words: Any) -> None:
        self.sock.setsockopt(*words)

    def _take_in(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        self.wire += data
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def give_out(self) -> None:
        data = self.outgoing.read()
        if data:
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)

    def shake(self) -> bool:
        """Take the next step of a handshake; whether it was the last."""
        self._take_in()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.give_out()
        return True

    def recv(self, most: int) -> bytes:
        self._take_in()
        try:
            return self.tls.read(most)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            if "EOF" in str(error):
                return b""
            raise ConnectionResetError(str(error)) from None

    def send(self, data: bytes) -> int:
        sent = self.tls.write(data[:16384])
        self.give_out()
        return sent

    def shutdown(self, how: int) -> None:
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.give_out()

    def close(self) -> None:
        self.sock.close()


class TlsPeer(Peer):
    """An upstream server with a certificate."""

    def __init__(self, certificate: tuple[Path, Path], path: str = "") -> None:
        super().__init__(path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.names: list[str | None] = []  # those that clients have sent
        self.context.sni_callback = lambda tls, name, context: self.names.append(name)

    def accept_raw(self) -> socket.socket:
        """The next connection of the worker's, on which nothing was said yet."""
        return self.stage.until(self._try_accept, f"nobody connected to {self.name}")

    def begin(self) -> TlsSocket:
        """The next connection, before its handshake."""
        return TlsSocket(self.accept_raw(), self.context)

    def accept(self) -> End:
        """The next connection, with a handshake."""
        sock = self.begin()
        self.stage.until(sock.shake, f"no handshake on {self.name}")
        return End(self.stage, sock, f"upstream {self.name}")  # type: ignore[arg-type]

    def fails(self) -> ssl.SSLError:
        """The error with which a handshake on the next connection ends."""
        sock = self.begin()
        failures: list[ssl.SSLError] = []

        def has_failed() -> bool:
            try:
                sock.shake()
            except ssl.SSLError as error:
                failures.append(error)
            return bool(failures)

        self.stage.until(has_failed, "the handshake succeeds")
        sock.close()
        return failures[0]
