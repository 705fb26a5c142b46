// A news ticker: GET /events (with Last-Event-ID: what came after it), POST /publish, GET /readers, GET /left. PORT from the environment.
const express = require('express');

const app = express();
const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, { events: [], readers: new Set() });
  return channels.get(name);
}

app.get('/events/:channel', (request, response) => {
  const { events, readers } = channel(request.params.channel);
  response.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache',
    ...('unbuffered' in request.query ? { 'X-Accel-Buffering': 'no' } : {}),
  });
  response.write('retry: 100\n\n');
  for (const event of events.slice(+request.get('Last-Event-ID') || 0)) response.write(event);
  readers.add(response);
  response.on('close', () => readers.delete(response));
});
app.post('/publish/:channel', express.text(), (request, response) => {
  const { events, readers } = channel(request.params.channel);
  const event = `id: ${events.length + 1}\nevent: news\ndata: ${request.body}\n\n`;
  events.push(event);
  for (const reader of readers) reader.write(event);
  response.sendStatus(204);
});
// End all streams of a channel, as a deployment does.
app.post('/end/:channel', (request, response) => {
  for (const reader of channel(request.params.channel).readers) reader.end();
  response.sendStatus(204);
});
app.get('/readers/:channel', (request, response) => response.json(channel(request.params.channel).readers.size));

// Answer when the last reader of a channel has left.
app.get('/left/:channel', async (request, response) => {
  const { readers } = channel(request.params.channel);
  while (readers.size) await new Promise((resolve) => setTimeout(resolve, 10));
  response.json(true);
});

app.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
