// Calls of every kind: `node client.js PORT`; prints what became of each as JSON.
'use strict';
const { grpc, service } = require('./calls.js');
const options = { 'grpc.max_receive_message_length': -1, 'grpc.enable_retries': 0 };
const connect = (name) => new (grpc.makeGenericClientConstructor(service(name), name))(
  `127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure(), options);
const client = connect('test.Calls'), down = connect('down.Calls');
const failure = (error) => `${grpc.status[error.code]}: ${error.details}`;
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const unary = (method, message = '', metadata = new grpc.Metadata(), more = {}, whom = client) => new Promise((done, fail) => {
  const found = { trailers: null };
  const call = whom[method](Buffer.from(message), metadata, more, (error, answer) => {
    found.error = error;
    found.answer = answer;
  });
  call.on('status', (status) => {
    found.trailers = status.metadata;
    setImmediate(() => (found.error ? fail(found.error) : done(found)));
  });
});
const text = async (...what) => (await unary(...what)).answer.toString();
const heard = (call) => new Promise((done, fail) => {
  const pieces = [];
  call.on('data', (piece) => pieces.push(piece.toString()));
  call.on('end', () => done(pieces));
  call.on('error', fail);
});

const CALLS = {
  unary: () => text('Echo', 'hello'),
  async trailers() {
    const { trailers } = await unary('Echo');
    return [trailers.get('x-last'), trailers.get('x-last-bin').map((value) => value.toString('hex'))];
  },
  'an error status': () => text('Fail', 'x'),
  'a method that is not there': () => unary('None').catch((error) => grpc.status[error.code]),
  'server stream': () => heard(client.Count(Buffer.from('5'))),
  'a long server stream': async () => (await heard(client.Count(Buffer.from('5000')))).length,
  'client stream': () => new Promise((done, fail) => {
    const call = client.Sum((error, answer) => (error ? fail(error) : done(answer.toString())));
    for (const number of [1, 2, 3]) call.write(Buffer.from(String(number)));
    call.end();
  }),
  'both ways, in turns': () => new Promise((done, fail) => {
    const call = client.Talk(), said = [];
    call.on('error', fail);
    call.on('end', () => done(said));
    call.on('data', (piece) => {
      said.push(piece.toString());
      if (said.length < 4) call.write(Buffer.from(`word ${said.length}`));
      else call.end();
    });
    call.write(Buffer.from('word 0'));
  }),
  'a deadline': () => unary('Sleep', '5', undefined, { deadline: Date.now() + 300 }).catch((error) => grpc.status[error.code]),
  async 'a cancelled call'() {
    const before = Number(await text('Cancelled'));
    const call = client.Wait(Buffer.alloc(0));
    call.on('error', () => {});
    await new Promise((done) => call.on('data', done));
    call.cancel();
    for (let turn = 0; turn < 500 && Number(await text('Cancelled')) === before; turn++) await sleep(20);
    return Number(await text('Cancelled')) - before;
  },
  'a large answer': async () => (await unary('Big', '3000000')).answer.length,
  'a large message': async () => (await unary('Echo', Buffer.alloc(3000000))).answer.length,
  async metadata() {
    const metadata = new grpc.Metadata();
    metadata.set('x-text', 'a b');
    metadata.set('x-raw-bin', Buffer.from([0, 1, 255]));
    return (await text('Fields', '', metadata)).split('\n').filter((line) => line.startsWith('x-')).length;
  },
  'a hundred calls at once': async () =>
    new Set(await Promise.all([...Array(100).keys()].map((number) => text('Echo', String(number))))).size,
  'no server': () => text('Echo', '', undefined, {}, down),
};

(async () => {
  const found = {};
  for (const [name, call] of Object.entries(CALLS)) {
    try {
      found[name] = await call();
    } catch (error) {
      found[name] = failure(error);
    }
  }
  console.log(JSON.stringify(found));
  process.exit(0);
})();
