// `node server.js PORT`
'use strict';
const { grpc, service } = require('./calls.js');
let cancelled = 0;
const methods = {
  Echo(call, answer) {
    const trailers = new grpc.Metadata();
    trailers.set('x-last', 'yes');
    trailers.set('x-last-bin', Buffer.from([0, 255]));
    answer(null, call.request, trailers);
  },
  Fail(call, answer) {
    answer({ code: grpc.status.FAILED_PRECONDITION, details: `not now: ${call.request} 100% ü` });
  },
  Sleep(call, answer) {
    setTimeout(() => answer(null, Buffer.from('slept')), Number(call.request) * 1000);
  },
  Cancelled(call, answer) {
    answer(null, Buffer.from(String(cancelled)));
  },
  Count(call) {
    for (let number = 0; number < Number(call.request); number++) call.write(Buffer.from(String(number)));
    call.end();
  },
  Wait(call) {
    call.on('cancelled', () => { cancelled += 1; });
    call.write(Buffer.from('first'));
  },
  Sum(call, answer) {
    let sum = 0;
    call.on('data', (piece) => { sum += Number(piece); });
    call.on('end', () => answer(null, Buffer.from(String(sum))));
  },
  Talk(call) {
    call.on('data', (piece) => call.write(Buffer.from(piece.toString().toUpperCase())));
    call.on('end', () => call.end());
  },
  Big(call, answer) {
    answer(null, Buffer.alloc(Number(call.request)));
  },
  Fields(call, answer) {
    const found = Object.entries(call.metadata.getMap()).map(([name, value]) => `${name}=${Buffer.from(value).toString('hex')}`);
    answer(null, Buffer.from(found.join('\n')));
  },
};
const calls = service('test.Calls');
delete calls.None;
const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
server.addService(calls, methods);
server.bindAsync(`127.0.0.1:${process.argv[2]}`, grpc.ServerCredentials.createInsecure(), (error) => { if (error) throw error; });
process.on('SIGTERM', () => process.exit(0));
