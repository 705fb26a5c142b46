// Browsers in a chat: each line on stdin is a JSON list, a command and its words; each is answered by a line of JSON on stdout.
const { io } = require('socket.io-client');
const TRANSPORTS = { upgrade: ['polling', 'websocket'], websocket: ['websocket'], polling: ['polling'] };

let clients = [];
const happens = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

function open(url, transports) {
  const client = io(url, { transports, forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 200 });
  Object.assign(client, { heard: [], pings: 0, drops: 0 });
  client.on('said', (node, text) => client.heard.push(`${node}: ${text}`));
  client.on('hello', (node, forwarded, host) => Object.assign(client, { node, forwarded, host }));
  client.on('disconnect', () => client.drops++);
  client.io.on('ping', () => client.pings++);
  return client;
}

// Until all clients are so.
async function all(condition) {
  while (!clients.every(condition)) await new Promise((resolve) => setTimeout(resolve, 10));
}

const commands = {
  // connect URL MODE COUNT: so many clients in one room, which all nodes know, by the transport that the mode ends with
  async connect(url, mode, count) {
    clients = Array.from({ length: +count }, () => open(url, TRANSPORTS[mode]));
    const last = mode === 'polling' ? 'polling' : 'websocket';
    await all((client) => client.node && client.connected && client.io.engine.transport.name === last);
    for (const client of clients) await client.emitWithAck('join', 'room');
    while ((await clients[0].emitWithAck('count', 'room')) < clients.length);
    return {
      nodes: [...new Set(clients.map((client) => client.node))].sort(),
      forwarded: [...new Set(clients.map((client) => client.forwarded))],
      host: [...new Set(clients.map((client) => client.host))],
    };
  },
  // refused URL MODE: the first error of a client that cannot connect
  async refused(url, mode) {
    const client = open(url, TRANSPORTS[mode]);
    const error = await Promise.race([happens(client, 'connect_error'), happens(client, 'disconnect')]);
    client.disconnect();
    return { error: String(error.message || error), status: error.description };
  },
  // say TEXT: by the first client; heard by all
  async say(text) {
    clients[0].emit('say', 'room', text);
    await all((client) => client.heard.some((line) => line.endsWith(`: ${text}`)));
    return clients.filter((client) => client.heard.length).length;
  },
  // heard TEXT: until all have
  async heard(text) {
    await all((client) => client.heard.includes(text));
    return clients.map((client) => client.heard.filter((line) => line === text).length);
  },
  // echo SIZE: how many clients get their own bytes back
  async echo(size) {
    const data = Buffer.alloc(+size);
    for (let i = 0; i < data.length; i++) data[i] = (i * 7919) >> 5;
    let same = 0;
    for (const client of clients) same += Buffer.compare(await client.emitWithAck('echo', data), data) === 0;
    return same;
  },
  // pings COUNT: until each client has got so many more
  async pings(count) {
    const before = clients.map((client) => client.pings);
    await all((client) => client.pings >= before[clients.indexOf(client)] + +count);
    return clients.filter((client) => client.connected).length;
  },
  // kick: the server throws out the first client, which comes back
  async kick() {
    const back = happens(clients[0].io, 'reconnect');
    clients[0].emit('kick');
    await back;
    await all((client) => client.connected);
    return clients.map((client) => client.drops);
  },
  // returned NODE: until all are connected, to this node
  async returned(node) {
    await all((client) => client.connected && client.node === node);
    return clients.length;
  },
  async state() {
    return { connected: clients.filter((client) => client.connected).length, drops: clients.map((client) => client.drops) };
  },
  async leave() {
    for (const client of clients) client.disconnect();
    return clients.length;
  },
};

async function main() {
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    const [name, ...words] = JSON.parse(line);
    console.log(JSON.stringify(await commands[name](...words)));
  }
  process.exit(0);
}
process.on('SIGTERM', () => process.exit(0));
main();
