// Events, each of which waits for POST with the number of the one before, from a client who has read that.
export const dynamic = 'force-dynamic';
const waiting = (globalThis.waiting ??= new Map());
const key = (request) => new URL(request.url).searchParams.get('gate');

export function GET(request) {
  const gate = key(request);
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    async start(controller) {
      for (let number = 0; number < 4; number++) {
        const opened = new Promise((resolve) => waiting.set(`${gate}-${number}`, resolve));
        controller.enqueue(encoder.encode(`data: ${number}\n\n`));
        await opened;
      }
      controller.close();
    },
  });
  return new Response(body, { headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache, no-transform' } });
}

export function POST(request) {
  waiting.get(key(request))();
  return new Response(null, { status: 204 });
}
