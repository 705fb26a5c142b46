"""A websocket echo on the `websockets` library: python websocket_echo.py PORT.

/close/CODE closes with that code, /fields tells the fields of the request first, /ping pings and tells when the pong has come,
/fragments sends messages back in fragments of 64 KB.
"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection) -> None:
    path = connection.request.path
    if "/close/" in path:
        await connection.close(int(path.rpartition("/")[2]), "as you wish")
        return
    if "/fields" in path:
        await connection.send("\n".join(f"{name}: {value}" for name, value in connection.request.headers.raw_items()))
    if "/ping" in path:
        await (await connection.ping(b"are you there?"))
        await connection.send("the pong has come")
    async for message in connection:
        if "/fragments" in path:
            await connection.send([message[at : at + 65536] for at in range(0, len(message), 65536)])
        else:
            await connection.send(message)


async def main() -> None:
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=1 << 24):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
