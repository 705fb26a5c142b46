// node client.js URL COOKIE: three consumers of Action Cable in one room; prints as JSON what they have seen.
const { pathToFileURL } = require('url');
const WebSocket = require('ws');

const [url, cookie] = process.argv.slice(2);
const CONSUMERS = 3;
const seen = { hellos: [], nodes: new Set(), heard: [], pings: new Set() };

// What a browser adds of itself: who is there, and where the page came from.
class BrowserSocket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers: { Origin: url, Cookie: cookie } });
    this.on('message', (data) => JSON.parse(data).type === 'ping' && seen.pings.add(this));
  }
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function main() {
  global.addEventListener = global.removeEventListener = () => {};
  global.document = { addEventListener() {}, removeEventListener() {}, visibilityState: 'visible' };
  global.self = global.window = global;
  const cable = await import(pathToFileURL(require.resolve('@rails/actioncable')));
  cable.adapters.WebSocket = BrowserSocket;

  const room = { channel: 'RoomChannel', room: new URL(url).port };
  const subscriptions = [];
  for (let i = 0; i < CONSUMERS; i++) {
    const consumer = cable.createConsumer(`${url.replace('http', 'ws')}/cable`);
    await new Promise((connected, rejected) =>
      subscriptions.push(
        consumer.subscriptions.create(room, {
          connected,
          rejected,
          received(message) {
            if (message.text) return seen.heard.push(`${i}: ${message.text}`);
            seen.hellos.push(message.name);
            seen.nodes.add(message.node);
          },
        }),
      ),
    );
  }
  subscriptions[0].perform('speak', { text: 'hé' });
  await until(() => seen.heard.length === CONSUMERS);
  const body = new URLSearchParams({ room: room.room, text: 'by a request' });
  seen.status = (await fetch(`${url}/say`, { method: 'POST', body })).status;
  await until(() => seen.heard.length === 2 * CONSUMERS && seen.hellos.length === CONSUMERS && seen.pings.size === CONSUMERS);
  console.log(JSON.stringify({ ...seen, heard: seen.heard.sort(), nodes: [...seen.nodes].sort(), pings: seen.pings.size }));
  process.exit(0);
}

main();
