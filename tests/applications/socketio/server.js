// A node of a chat: PORT, NAME and REDIS (a port) come from the environment. GET /health, POST /say?room=&text= for all nodes.
const http = require('http');
const { Server } = require('socket.io');
const { createAdapter } = require('@socket.io/redis-adapter');
const { createClient } = require('redis');

const { PORT, NAME, REDIS } = process.env;

async function main() {
  const publisher = createClient({ url: `redis://127.0.0.1:${REDIS}` });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);

  const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://node');
    if (url.pathname !== '/say') return response.end(NAME);
    io.to(url.searchParams.get('room')).emit('said', NAME, url.searchParams.get('text'));
    response.end('said');
  });
  const io = new Server(server, {
    adapter: createAdapter(publisher, subscriber),
    pingInterval: 1000,
    pingTimeout: 20000,
    maxHttpBufferSize: 4e6,
  });
  io.on('connection', (socket) => {
    socket.emit('hello', NAME, socket.handshake.headers['x-forwarded-for'], socket.handshake.headers.host);
    socket.on('join', async (room, answer) => {
      await socket.join(room);
      answer();
    });
    // Sockets of all nodes: a room is complete when every node knows it.
    socket.on('count', async (room, answer) => answer((await io.in(room).fetchSockets()).length));
    socket.on('say', (room, text) => io.to(room).emit('said', NAME, text));
    socket.on('echo', (data, answer) => answer(data));
    socket.on('kick', () => socket.conn.close());
  });
  server.listen(PORT, '127.0.0.1');
}

process.on('SIGTERM', () => process.exit(0));
main();
