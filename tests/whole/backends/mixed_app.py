"""What a mixed load asks for (tests/whole/load.py): python mixed_app.py PORT.

/ask/... answers with its own path; /download/SIZE/... with that many bytes; with an Upgrade, whatever is sent comes back.
"""

import asyncio
import sys

PIECE = b"0123456789abcdef" * 4096
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if b"\r\nupgrade:" in head.lower():
                writer.write(SWITCH)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                return
            if path.startswith(b"/download/"):
                await send_many(writer, int(path.split(b"/")[2]))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def send_many(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    while size:
        piece = PIECE[:size]
        writer.write(piece)
        await writer.drain()
        size -= len(piece)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    async with server:
        await server.serve_forever()


asyncio.run(main())
