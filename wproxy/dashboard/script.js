"use strict";
const byId = id => document.getElementById(id), mayWrite = document.body.dataset.write === "1";
let state = null, history = [], failing = 0, known = new Map(), stream = null;

// Values: a merge patch makes a new state, and shares what has not changed with the old one.
function merge(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const made = target && typeof target === "object" && !Array.isArray(target) ? {...target} : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete made[name]; else made[name] = merge(made[name], value);
  }
  return made;
}
function before(seconds) {
  for (const old of history) if (state.now - old.now <= seconds + 0.5) return old;
  return state;
}
function rate(read) {
  const old = before(10), span = state.now - old.now;
  return span > 0 ? Math.max(0, (read(state) || 0) - (read(old) || 0)) / span : 0;
}
function quantiles(read, shares) {
  const now = read(state) || [], old = read(before(60)) || [];
  let counts = now.map((count, at) => Math.max(0, count - (old[at] || 0)));
  let total = counts.reduce((one, two) => one + two, 0);
  return shares.map(share => {
    if (!total) return null;
    let rank = share * total, passed = 0, lower = 0;
    for (let at = 0; at < state.bounds.length; at++) {
      const upper = state.bounds[at];
      if (counts[at] && passed + counts[at] >= rank) return lower + (upper - lower) * Math.max(rank - passed, 0) / counts[at];
      passed += counts[at]; lower = upper;
    }
    return lower;
  });
}
// Texts.
const number = value => value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
const bytes = value => { let unit = 0; while (value >= 1024 && unit < 4) { value /= 1024; unit++; } return number(value) + " " + ["B", "KB", "MB", "GB", "TB"][unit]; };
const time = value => value === null ? "-" : value < 1 ? Math.round(value * 1000) + " ms" : value.toFixed(1) + " s";
const clock = at => new Date(at * 1000).toLocaleTimeString("en-GB");
function span(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 60) return seconds + "s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "m " + seconds % 60 + "s";
  if (seconds < 86400) return Math.floor(seconds / 3600) + "h " + Math.floor(seconds % 3600 / 60) + "m";
  return Math.floor(seconds / 86400) + "d " + Math.floor(seconds % 86400 / 3600) + "h";
}
const SIGNS = {up: ["\u2713", "good"], down: ["\u2715", "warn"], draining: ["\u25bd", "warn"], unavail: ["!", "bad"], unhealthy: ["!", "bad"], checking: ["?", "warn"]};
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function set(node, text, kind) {
  if (node.textContent !== text) node.textContent = text;
  if (kind !== undefined && node.className !== kind) node.className = kind;
}
// Tables keep their rows, so that the focus stays where it is. A column: title, read(row) -> text or [text, class], or make(row, cell).
function table(place, caption, columns, rows, empty) {
  let made = place.querySelector("table"), none = place.querySelector(".none");
  if (!rows.length) {
    if (made) made.remove();
    if (!none) place.append(element("p", empty, "none"));
    return;
  }
  if (none) none.remove();
  if (!made) {
    made = element("table");
    made.append(element("caption", caption));
    const line = made.createTHead().insertRow();
    for (const column of columns) { const head = element("th", column.title, column.number ? "number" : ""); head.scope = "col"; line.append(head); }
    made.rowsByKey = new Map();
    made.append(element("tbody"));
    place.append(made);
  }
  const body = made.tBodies[0], seen = new Set();
  rows.forEach((row, at) => {
    seen.add(row.key);
    let line = made.rowsByKey.get(row.key);
    if (!line) {
      line = element("tr");
      for (const column of columns) {
        const cell = element("td", undefined, [column.number ? "number" : "", column.wide ? "wide" : ""].join(" ").trim());
        cell.dataset.title = column.title;
        line.append(cell);
      }
      made.rowsByKey.set(row.key, line);
    }
    if (body.children[at] !== line) body.insertBefore(line, body.children[at] || null);
    columns.forEach((column, index) => {
      const cell = line.children[index];
      if (column.make) return column.make(row, cell);
      const value = column.read(row), pair = Array.isArray(value);
      if (!cell.firstChild) cell.append(element("span"));
      set(cell.firstChild, pair ? value[0] : value, pair ? value[1] : "");
    });
  });
  for (const [key, line] of made.rowsByKey) if (!seen.has(key)) { line.remove(); made.rowsByKey.delete(key); }
}
function matches(...texts) {
  const wanted = byId("filter").value.trim().toLowerCase();
  return !wanted || texts.some(text => String(text).toLowerCase().includes(wanted));
}
const failedOnly = () => byId("failed").checked;

function show() {
  const head = state.head, totals = state.totals;
  set(byId("version"), head.version);
  set(byId("life"), `up ${span(state.now - head.started)}, generation ${head.generation}, ${Object.keys(state.workers).length} workers, ${clock(state.now)}`);
  const reload = byId("reload");
  reload.hidden = !head.reload_error;
  set(reload, head.reload_error ? "the last reload failed, the old configuration serves: " + head.reload_error : "");
  const [p50, p95, p99] = quantiles(each => each.totals.buckets, [0.5, 0.95, 0.99]);
  const all = rate(each => each.totals.requests), fives = rate(each => each.totals.classes[4]);
  const tiles = {
    "requests/s": number(all), "active": number(totals.active), "connections": number(totals.connections),
    "p50": time(p50), "p95": time(p95), "p99": time(p99),
    "5xx": (all ? 100 * fives / all : 0).toFixed(1) + " %", "sent/s": bytes(rate(each => each.totals.sent)), "received/s": bytes(rate(each => each.totals.received)),
  };
  for (const [title, value] of Object.entries(tiles)) {
    let tile = byId("tile " + title);
    if (!tile) {
      const box = element("div"); tile = element("dd"); tile.id = "tile " + title;
      box.append(element("dt", title), tile); byId("tiles").append(box);
    }
    set(tile, value, title === "5xx" && fives > 0 ? "bad" : "");
  }
  showCauses(); showUpstreams(); showRequests(); showRest();
}
function showCauses() {
  const rows = Object.entries(state.causes).map(([code, found]) => ({key: code, code, ...found})).filter(row => matches(row.code, row.who))
    .sort((one, two) => two.count - one.count);
  table(byId("causes"), "End causes of the last ten minutes", [
    {title: "cause", read: row => [row.code, "bad"]}, {title: "count", number: true, read: row => number(row.count)},
    {title: "who", wide: true, read: row => row.who}, {title: "what it is, and what to do", wide: true, read: row => row.when + ": " + row.fix},
  ], rows, "none");
}
const isWell = peer => peer.state === "up";
function showUpstreams() {
  const groups = byId("groups"), present = new Set();
  for (const [name, group] of Object.entries(state.upstreams)) {
    const peers = Object.entries(group.peers).map(([key, peer]) => ({key, name, ...peer}))
      .filter(peer => matches(name, peer.server, peer.name, peer.state) && !(failedOnly() && isWell(peer)));
    for (const [key, peer] of Object.entries(group.peers)) tellChange(name + " " + key, peer);
    if (!peers.length) continue;
    present.add(name);
    let box = [...groups.children].find(each => each.dataset.name === name);
    if (!box) {
      box = element("div"); box.dataset.name = name;
      box.append(element("h3", name), element("div", undefined, "scroll")); groups.append(box);
    }
    const read = (peer, what) => each => ((each.upstreams[name] || {peers: {}}).peers[peer.key] || {})[what];
    const columns = [
      {title: "server", read: peer => peer.server + (peer.backup ? " (backup)" : "")},
      {title: "state", read: peer => { const [sign, kind] = SIGNS[peer.state] || ["?", "warn"]; return [sign + " " + peer.state, kind]; }},
      {title: "since, and why", wide: true, make: showHistory},
      {title: "req/s", number: true, read: peer => number(rate(read(peer, "requests")))},
      {title: "active", number: true, read: peer => number(peer.active)},
      {title: "p95", number: true, read: peer => time(quantiles(read(peer, "buckets"), [0.95])[0])},
      {title: "fails", number: true, read: peer => number(peer.fails)},
      {title: "idle", number: true, read: peer => number(peer.idle || 0)},
      {title: "weight", number: true, read: peer => number(peer.weight)},
    ];
    if (mayWrite && group.is_block) columns.push({title: "actions", make: showActions});
    table(box.lastChild, "Servers of upstream " + name, columns, peers, "none");
  }
  for (const box of [...groups.children]) if (!present.has(box.dataset.name)) box.remove();
}
function showHistory(peer, cell) {
  const last = peer.history[peer.history.length - 1];
  const text = !last ? "" : `${last.to === peer.state ? last.to + " since" : "found " + last.to + " at"} ${clock(last.at)} by worker ${last.worker}: ${last.cause}${last.failures > 1 ? ", " + last.failures + " failures" : ""}`;
  if (!cell.firstChild) cell.append(element("span"));
  set(cell.firstChild, text, "");
  let more = cell.querySelector("details");
  if (peer.history.length < 2) { if (more) more.remove(); return; }
  if (!more) { more = element("details"); more.append(element("summary", "history"), element("ol")); cell.append(more); }
  const lines = peer.history.map(change => `${clock(change.at)} ${change.from} \u2192 ${change.to}: ${change.cause}, worker ${change.worker}`);
  if (more.lastChild.dataset.text !== lines.join()) {
    more.lastChild.dataset.text = lines.join();
    more.lastChild.replaceChildren(...lines.map(line => element("li", line)));
  }
}
const ACTIONS = {drain: {drain: true, down: false}, down: {down: true, drain: false}, up: {down: false, drain: false}, weight: null};
function showActions(peer, cell) {
  cell.peer = peer;
  if (cell.firstChild) return;
  for (const action of Object.keys(ACTIONS)) {
    const button = element("button", action);
    button.type = "button";
    button.setAttribute("aria-label", `${action} ${peer.server} of ${peer.name}`);
    button.addEventListener("click", () => act(action, cell.peer, cell.closest("[data-name]").dataset.name));
    cell.append(button);
  }
}
function act(action, peer, upstream) {
  byId("weight").value = peer.weight;
  ask(`${action} ${peer.server} of ${upstream}?`, action === "weight" ? "weight" : "", () => {
    const body = action === "weight" ? {weight: Number(byId("weight").value)} : ACTIONS[action];
    send("PATCH", `api/9/http/upstreams/${encodeURIComponent(upstream)}/servers/${peer.id}`, body, `${action} ${peer.server} of ${upstream}`);
  });
}
// A question before anything is changed. field: the one to fill in, "" for none.
function ask(question, field, deed) {
  const dialog = byId("ask");
  set(byId("question"), question);
  for (const each of ["weight", "key"]) byId(each + "-label").hidden = each !== field;
  dialog.returnValue = "no";
  dialog.onclose = () => { if (dialog.returnValue === "yes") deed(); };
  dialog.showModal();
  byId(field || "yes").focus();
}
async function send(method, place, body, what) {
  try {
    const answer = await fetch(place, {method, headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    const said = await answer.json();
    tell(answer.ok ? what + " is done" : `${what} failed: ${said.error ? said.error.text : answer.status}`, !answer.ok);
  } catch (error) { tell(`${what} failed: ${error.message}`, true); }
}
function tell(text, failed) {
  const told = byId("told");
  told.className = failed ? "alert" : "hidden";
  set(told, text);
}
function tellChange(key, peer) {
  const old = known.get(key);
  known.set(key, peer.state);
  if (old && old !== peer.state) tell(`${key} is ${peer.state} now`, false);
}
function showRequests() {
  for (const what of ["servers", "locations"]) {
    const rows = Object.entries(state[what]).map(([key, found]) => ({key, ...found}))
      .filter(row => matches(row.key) && !(failedOnly() && !row.classes[4]));
    const read = (row, name) => each => (each[what][row.key] || {})[name];
    table(byId(what), `Requests by ${what}`, [
      {title: what.slice(0, -1), read: row => row.key}, {title: "req/s", number: true, read: row => number(rate(read(row, "requests")))},
      {title: "requests", number: true, read: row => number(row.requests)}, {title: "active", number: true, read: row => number(row.active)},
      ...["2xx", "3xx", "4xx", "5xx"].map((title, at) => ({title, number: true, read: row => [number(row.classes[at + 1]), at === 3 && row.classes[4] ? "bad" : ""]})),
      {title: "p95", number: true, read: row => time(quantiles(read(row, "buckets"), [0.95])[0])},
      {title: "sent/s", number: true, read: row => bytes(rate(read(row, "sent")))},
    ], rows, "none");
  }
}
function hitRate(responses) {
  const all = Object.values(responses).reduce((one, two) => one + two, 0);
  const good = ["hit", "stale", "updating", "revalidated"].reduce((sum, name) => sum + (responses[name] || 0), 0);
  return all ? (100 * good / all).toFixed(1) + " %" : "-";
}
function showPurge(row, cell) {
  if (cell.firstChild) return;
  const button = element("button", "purge");
  button.type = "button";
  button.setAttribute("aria-label", "purge " + row.key);
  button.addEventListener("click", () => ask(`purge responses of cache ${row.key}?`, "key", () =>
    send("POST", `api/9/http/caches/${encodeURIComponent(row.key)}/purge`, {key: byId("key").value}, "purge of " + row.key)));
  cell.append(button);
}
function showRest() {
  table(byId("failures"), "The last failed requests", [
    {title: "at", read: row => clock(row.at)}, {title: "status", number: true, read: row => String(row.status || "-")},
    {title: "cause", read: row => [row.cause, "bad"]}, {title: "path", wide: true, read: row => row.path}, {title: "upstream", read: row => row.peer},
    {title: "time", number: true, read: row => row.ms + " ms"}, {title: "trace", read: row => row.trace_id}, {title: "worker", number: true, read: row => String(row.worker)},
  ], state.failures.filter(row => matches(row.path, row.cause, row.peer)).map((row, at) => ({key: at, ...row})), "none");
  table(byId("limits"), "Limits", [
    {title: "limit", read: row => row.key}, ...["passed", "delayed", "rejected"].map(title => ({title, number: true, read: row => number(row[title])})),
  ], Object.entries(state.limits).map(([key, found]) => ({key, ...found})), "no limits");
  table(byId("certificates"), "Certificates", [
    {title: "certificate", read: row => row.key},
    {title: "ends", read: row => { const days = (row.ends - state.now) / 86400; return [new Date(row.ends * 1000).toISOString().slice(0, 10) + ` (${Math.floor(days)} days)`, days < 14 ? "bad" : ""]; }},
  ], Object.entries(state.certificates).map(([key, ends]) => ({key, ends})), "no certificates");
  const cacheColumns = [
    {title: "cache", read: row => row.key}, {title: "size", number: true, read: row => bytes(row.size)},
    {title: "limit", number: true, read: row => row.max_size ? bytes(row.max_size) : "-"},
    {title: "hits", number: true, read: row => hitRate(row.responses)},
    ...["hit", "miss", "stale", "expired", "bypass"].map(title => ({title, number: true, read: row => number(row.responses[title] || 0)})),
  ];
  if (mayWrite) cacheColumns.push({title: "actions", make: showPurge});
  table(byId("caches"), "Caches", cacheColumns, Object.entries(state.caches).map(([key, found]) => ({key, ...found})), "no caches");
  table(byId("resolvers"), "Resolvers", [
    {title: "resolver", read: row => row.key}, {title: "questions", number: true, read: row => number(row.questions)},
    {title: "found", number: true, read: row => number(row.results.noerror || 0)},
    {title: "no such name", number: true, read: row => number(row.results.nxdomain || 0)},
    {title: "no answer", number: true, read: row => [number(row.results.timedout || 0), row.results.timedout ? "bad" : ""]},
    {title: "failed", number: true, read: row => { const failed = ["formerr", "servfail", "notimp", "refused", "unknown"].reduce((sum, name) => sum + (row.results[name] || 0), 0); return [number(failed), failed ? "bad" : ""]; }},
  ], Object.entries(state.resolvers).map(([key, found]) => ({key, ...found})), "no resolvers");
  table(byId("workers"), "Workers", [
    {title: "worker", read: row => row.key}, {title: "pid", number: true, read: row => String(row.pid)}, {title: "state", read: row => [row.state, row.state === "serving" ? "good" : "warn"]},
    {title: "generation", number: true, read: row => String(row.generation)}, {title: "up", read: row => span(state.now - row.started)},
    {title: "connections", number: true, read: row => number(row.connections)}, {title: "requests", number: true, read: row => number(row.requests)},
    {title: "CPU", number: true, read: row => (100 * rate(each => (each.workers[row.key] || {}).cpu)).toFixed(0) + " %"},
    {title: "memory", number: true, read: row => bytes(row.memory)}, {title: "descriptors", number: true, read: row => number(row.descriptors)},
  ], Object.entries(state.workers).map(([key, found]) => ({key, ...found})), "none");
}
function take(next) {
  if (state) { history.push(state); while (history.length > 61) history.shift(); }
  state = next;
  show();
}
function connect() {
  stream = new EventSource("events");
  stream.addEventListener("full", message => { set(byId("stream"), "live", "state good"); take(JSON.parse(message.data)); });
  stream.addEventListener("delta", message => take(merge(state, JSON.parse(message.data))));
  stream.addEventListener("bye", () => { stream.close(); set(byId("stream"), "the worker leaves, connecting again", "state warn"); setTimeout(connect, 200); });
  stream.addEventListener("error", () => {
    set(byId("stream"), "no connection, trying again", "state bad");
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}
byId("filters").addEventListener("submit", event => event.preventDefault());
byId("filters").addEventListener("input", () => state && show());
addEventListener("keydown", event => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); byId("filter").focus(); }
  if (event.key === "f") { byId("failed").checked = !byId("failed").checked; if (state) show(); }
});
connect();
