// The test application on Node.js; see flask_app.py and asgi_app.py for what it answers.
"use strict";

const http = require("http");
const crypto = require("crypto");

function pattern(size) {
  let block = "";
  for (let number = 0; number < 8192; number++) block += String(number).padStart(8, "0");
  return Buffer.from(block.repeat(Math.floor(size / block.length) + 1).slice(0, size));
}

function digest(request, done) {
  const hash = crypto.createHash("sha256");
  let length = 0;
  request.on("data", (piece) => { hash.update(piece); length += piece.length; });
  request.on("end", () => done({ length, sha256: hash.digest("hex") }));
}

// Pages that wait to be released, by name.
const waiting = new Map();

function page(name, response) {
  let number = 0;
  const more = () => {
    if (number < 5) response.write(`<p>piece ${number++}\n`);
    else response.end();
  };
  waiting.set(name, more);
  response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
  more();
}

function events(count, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const timer = setInterval(() => {
    response.write(`data: ${Number(process.hrtime.bigint()) / 1e9}\n\n`);
    if (--count === 0) { clearInterval(timer); response.end(); }
  }, 20);
}

const server = http.createServer((request, response) => {
  const [, first, rest] = request.url.split("?")[0].split("/");
  if (first === "seen") {
    digest(request, (found) => {
      const fields = [];
      for (let at = 0; at < request.rawHeaders.length; at += 2) {
        fields.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
      }
      const body = JSON.stringify({ method: request.method, target: request.url, fields, ...found });
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
      response.end(body);
    });
  } else if (first === "digest") {
    digest(request, (found) => response.end(JSON.stringify(found)));
  } else if (first === "bytes") {
    const data = pattern(Number(rest));
    response.writeHead(200, { "Content-Length": data.length });
    response.end(data);
  } else if (first === "stream") {
    const data = pattern(Number(rest));
    for (let at = 0; at < data.length; at += 50000) response.write(data.subarray(at, at + 50000));
    response.end();
  } else if (first === "page") {
    page(rest, response);
  } else if (first === "release") {
    waiting.get(rest)();
    response.end("released");
  } else if (first === "events") {
    events(Number(rest), response);
  } else if (first === "status") {
    response.writeHead(Number(rest));
    response.end(rest === "204" || rest === "304" ? undefined : `status ${rest}`);
  } else {
    response.writeHead(404);
    response.end("not found");
  }
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2]), "127.0.0.1", 511);
