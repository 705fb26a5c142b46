// The methods of tests/whole/backends/grpc_server.py, with messages that are bytes.
'use strict';
const grpc = require('@grpc/grpc-js');
const as_is = (bytes) => bytes;
const KINDS = {
  Echo: [false, false], Fail: [false, false], Sleep: [false, false], Cancelled: [false, false], Count: [false, true],
  Wait: [false, true], Sum: [true, false], Talk: [true, true], Big: [false, false], Fields: [false, false], None: [false, false],
};
exports.service = (name) => Object.fromEntries(Object.entries(KINDS).map(([method, [requestStream, responseStream]]) => [method, {
  path: `/${name}/${method}`, requestStream, responseStream,
  requestSerialize: as_is, requestDeserialize: as_is, responseSerialize: as_is, responseDeserialize: as_is,
}]));
exports.grpc = grpc;
