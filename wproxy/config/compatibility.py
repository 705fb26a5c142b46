"""docs/nginx-compatibility.md: the parts of nginx that work, are accepted or refused, from the tables in `wproxy/directives/`.

    python -m wproxy.config.compatibility

rewrites the page.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterable

import wproxy.config.model  # noqa: F401  # fills the registry
from wproxy.config.registry import REGISTRY, Directive
from wproxy.directives.accepted import ACCEPTED, HARMLESS, MODULES
from wproxy.generated_pages import DOCS, write_pages

PAGE = "nginx-compatibility.md"
_WIDTH = 120

_HEAD = """\
# Coming from nginx

Written by `python -m wproxy.config.compatibility` from the tables in `wproxy/directives/`: change those, not this page.

wproxy reads nginx.conf as it is. Names, contexts, inheritance, messages and exit codes are nginx's; directives without effect
are reported, never silently ignored.

## Moving a server

1. `wproxy -t -c /etc/nginx/nginx.conf` reads the file as a start would. Warnings name directives that are accepted
   and have no effect yet; an unknown directive is an error with its place. A start is stricter than `-t`: it refuses directives
   without whose effect the server would be less safe than its configuration says (below).
2. `wproxy check /etc/nginx/nginx.conf` finds mistakes that load without complaint, and gives the reason and the fix of each.
3. `wproxy explain -c /etc/nginx/nginx.conf http://example.com/path` shows, without sending anything, which server and
   location take a request, what the upstream would receive and where every setting was written.
4. For programs that work with nginx (systemd, logrotate, certbot) make a link named `nginx` to `wproxy`, or run
   `wproxy --as-nginx`: the same options and signals, the same paths (`/etc/nginx/nginx.conf`, `/run/nginx.pid`,
   `/var/log/nginx/`), `Server: nginx`.
5. `wproxy convert /etc/nginx/nginx.conf > wproxy.toml` writes the same tree in TOML, with included files in
   place and with the comments; `wproxy convert wproxy.toml` goes back, and a second round changes nothing. TOML has no brace that
   ends a block, so a comment after the last directive of a block is indented by four blanks for each block around it. Converting
   is optional: every command reads both syntaxes, and the name of a file decides.

## Different on purpose

- `keepalive N` of an upstream is kept to up to a second late: connections beyond it that a burst of requests has opened serve
  that burst, and are closed when they have been idle for 0.4 seconds; there are none while half of `worker_connections` is used.
- `$jwt_claim_*` and `$jwt_header_*` say nothing when a request was let in although auth_jwt had not believed its token: by its
  address or a password, with `satisfy any`.
- `grpc_set_header Host` becomes `:authority` of the call; nginx 1.22 sends a field `host` and no `:authority`.
- Over HTTP/2 and gRPC an answer whose head announces a length and ends the stream is a 502, except to HEAD and with 304; nginx
  passes it on with length 0. A body that is longer or shorter than announced is a 502 as well while nothing has been sent, and
  the error log has the words of RFC 9113 for frames that are wrong.
- A header of the PROXY protocol may come in pieces; nginx closes the connection unless it is whole at the first read.
- A subrequest for which no body has been read announces none: nginx passes the client's Content-Length on without the body, and
  the location that `auth_request` asks, or that gets a copy without a body, waits for it.
- `mirror`: the log line of a request, the next request on its connection and the end of that connection do not wait for the copy,
  as they do in nginx. A worker has at most 512 copies of one location's requests under way; further ones are dropped, which is
  logged. A worker that is told to leave finishes its copies. The same holds for `post_action`: with 512 of a location under way
  further ones are left out, which is logged. `post_action off` means none (in nginx it is a request for the URI `off`), and its
  access line has the status that the client got, except after an abort; nginx writes that of the action.
- A variable whose value changes in the course of a request (`$request_completion`, `$bytes_sent`) is read anew in the log of the
  request, also where the log of a subrequest or an SSI page has read it; nginx then keeps the first value. Values of `map`,
  `geo`, `set` and of captures are kept for all, as in nginx.
- The host of a `Destination` is compared without regard to case, and its scheme may be `https` also where
  TLS ends before wproxy; nginx refuses that (400), and takes `http://hx/` for a place of `h`.
- `COPY` of a directory copies all that is in it, whatever `Depth: 0` says; so does nginx, and RFC 4918 says otherwise.
- Tracing: requests that end before the phases of a location (400, 413, a server's `return`) have a span, too, and attempts at
  peers, subrequests and health checks are spans of the kind CLIENT; nginx's module has none of these. traceparent is read by the
  letter of W3C Trace Context: upper case is refused, later versions are taken, and the flag for random identifiers is kept. A
  state that is empty is no `tracestate` field at all. An export that fails for a passing reason is sent again.
- Requests that `worker_shutdown_timeout` cuts have a line in the access log.
- `ssi`: `set` takes responses of up to 1 MB into a variable, whatever subrequest_output_buffer_size says. At most 64 includes of
  a page are under way at once; the others follow. A response without a body leaves a variable of `set` as it was and shows a
  `stub` once, as in nginx 1.22; 1.26 empties the one and shows the other twice.
- `slice`: a client that asks for a part and gets the whole, because of a filter that changes bodies or of `max_ranges 0`, gets
  all of it (nginx begins with the slice of that part). Filters see one body, not one for each slice. A slice that breaks off, or
  is longer than its range, cuts the response; nginx goes on with the next one, in the wrong place.
- `ssl_stapling`: a worker asks the OCSP responder when it starts and not when the first client wants a response, so that a
  certificate that must be stapled is so from the first second on; a failure is followed by another try after 5 s, later ones
  by one after up to 5 minutes. The name of the responder is looked up by `resolver` alone, without one as the system does,
  never at load. Its issuer may sign a response without sending its certificate, also where that is a root.
- `ssl_ocsp`: sessions are not resumed. A session has the client's certificate and not those above it; nginx closes a resumed
  connection whose chain it cannot build from `ssl_trusted_certificate`. A connection that was not asked about because its
  handshake was that of another server gets 421 (nginx lets it in). A status is kept in `ssl_ocsp_cache` for the responder and the
  trusted files that it came from.
- A `return 444` in the location of a copy ends the copy; in nginx it closes the connection of the client.
- Requests go upstream with HTTP/1.1 and connections are kept (`keepalive 32`), also those of a `proxy_pass` to a bare address;
  older versions of nginx speak HTTP/1.0 and close connections, and no version keeps those to a bare address.
- All errors of a file are reported in one run, not only the first.
- A `return 407` has neither phrase nor page, as in nginx up to 1.26.
- Regular expressions are those of PCRE as far as Python's `re` can run them with the same meaning; any other is an error at its
  place. A match that takes too long is stopped and counts as no match, with a line in the error log.
- With `ignore_invalid_headers off`, field names made of the characters that HTTP allows pass (`x_foo`, `x.foo`), and any other is
  a 400; nginx passes on names that servers read differently (`x(foo`, 8-bit bytes).
- The health of upstream servers is shared by all workers, with or without `zone`; so `health_check` needs no `zone` either.
- `health_check` and `match`, which only nginx's commercial edition has, work; `type=tcp` is a check that only connects, and
  `type=grpc` may stand anywhere among the parameters. An unhealthy server stays unhealthy across a reload.
- Where the workers' user may write, root does not trust names: as a log, a pid file or a state file it accepts only a regular
  file with one name that belongs to root, to that user or to the directory's owner, and it follows only links that another user
  has made (such as root's own link to `/dev/stdout`). nginx opens, and gives away, whatever a compromised worker has put there.
- `api write=on` refuses changes that a browser sends for a page of another origin than the Host, or under a name that is neither
  a `server_name` nor an address nor localhost (403), and bodies of `text/plain`. Programs such as `curl -d` are not affected.
- A `#` in a request target and everything after it are dropped, also from `$request_uri`; nginx routes without them but sends
  them upstream when proxy_pass has no URI.
- Missing directories of logs and pid files are made only when they are wproxy's own defaults (`logs`, `run`).
- Directives without effect are read as nginx reads them, zones, upstreams and certificates included. Exceptions: modules are not
  loaded, and no size of a hash table is too small, since there are no hash tables.
- The keys of TLS tickets outlive a reload and an upgrade without `ssl_session_ticket_key`: a client resumes its session as long
  as certificates and trusted authorities of the server are the same. Keys older than a day are replaced at a reload, and with
  `ssl_session_cache shared:` they change with each ssl_session_timeout, as in nginx. Where tickets are on,
  sessions of clients without them are kept by each worker (`ssl_session_cache shared:` says how many), so that such a client is
  resumed by the worker that knows it.
- All `ssl_` settings of a server hold for the clients that name it, `ssl_ecdh_curve` and the others included that nginx takes
  from the default server of the address. Where a client has sent no name, a server that asks for certificates refuses (421) one
  that was checked against the authorities of the default server, unless they are its own.
- A certificate of an upstream that is not trusted ends the handshake with an alert, where nginx completes it and then closes;
  the log lines are nginx's. Renegotiation that an upstream asks for is declined. Certificates of ours with variables in their
  names are kept also without `proxy_ssl_certificate_cache`, and read again when their files have changed; of its parameters
  only `max` counts, `inactive` and `valid` are not needed.
- Where the name of a certificate has variables, a handshake for a host name with a `/` in it is refused: no client chooses a file
  by a path.
- `-s stop`, `quit`, `reload` and `reopen` do not look at certificates and other files that a start needs: nginx cannot stop a
  server whose certificate has been taken away.
- Files of a cache are checked whole: one that was cut short, by its Content-Length if nginx wrote it, is deleted and fetched,
  where nginx sends what there is. They are written in the directory of the cache, under no name until they are complete, whatever
  `use_temp_path` says. The cache loader begins at the start instead of a minute later, and leaves files and directories alone
  that do not belong to the cache; nginx deletes them. The index of a zone outlives an upgrade, too; a zone whose path or levels
  a reload has changed is a new one, where nginx refuses the reload. If the cache manager falls behind a `max_size`, workers
  delete files as well. With `master_process off` the one process does the work of manager and loader.
- `aio on` is accepted: whether nginx accepts it depends on how it was built.
- Requests that nginx lets through and that two servers may read differently are refused with 400: control characters and bare
  CRs anywhere in a head, fields without a colon, folded fields, bare LFs in chunks, invalid trailers, host names with characters
  other than letters, digits, `.`, `-` and `_`, invalid ports, schemes other than http and https, HTTP/0.9, versions such as
  `1.01`, methods of more than 32 letters. A body that ends early is also answered with 400, and so is a chunked one whose last
  chunk is followed by anything but trailers.
- Host is the first field sent to upstreams, and never left out: where it would be empty it is `$proxy_host`. Fields that a client
  names in Connection are not passed on, nor are Proxy and HTTP2-Settings.
- With `fastcgi_request_buffering off` a body of unknown length is read first all the same, as nginx itself does for uwsgi and
  SCGI; otherwise PHP, which is told the length before, reads nothing.
- An answer that fastcgi_catch_stderr refuses has a line of its own in the error log, after the one with the message.
- FastCGI, uwsgi and SCGI servers get no HTTP_TRANSFER_ENCODING: a body reaches them without its coding, and a program that
  believes the field waits for chunks. Fields that a client names in Connection do not reach them either, except Upgrade.
- An answer of a FastCGI server that breaks off before its announced length while it is still in our hands is a 502, or another
  server is asked; nginx sends a part of it.
- An answer of a FastCGI server that breaks off within a record is not whole, also without fastcgi_keep_conn: it is not stored,
  and the client is told so by the missing end of its chunks; nginx takes it for the whole answer, also for its cache.
- With `proxy_pass_request_body off` the request has no Content-Length; nginx lets the upstream wait for the body unless
  `proxy_set_header Content-Length ""` is there, too.
- A kept connection to an upstream that turns out to be dead does not count as a failure of the server: the request is sent again
  over a new connection.
- A response always has a Date, also with `proxy_pass_header Date` when the upstream sent none (RFC 9110, 6.6.1); a status line
  with an empty reason keeps the space before it (RFC 9112, 4).
- X-Accel-Charset may name any character set, not only those that some directive mentions. An empty variable in `charset` means no
  character set, where nginx aborts the request. A replaced response does not leave its character set behind.
- `server_name_in_redirect` with an empty `server_name` leaves the client's host, where nginx writes a Location without one.
- `keepalive_requests`, `keepalive_time`, `keepalive_timeout 0` and `keepalive_disable` of a server hold also where its own
  `return` or `rewrite` answers before any location is chosen; nginx keeps such a connection.
- `gunzip`: a body that is no gzip after all breaks off behind the head of the answer; nginx closes without having sent the head,
  if all that came before fits its buffers.
- `$content_length` is empty for a chunked body; in nginx it becomes a number when the body has been read (its length) or
  dropped (0).
- `autoindex` in a `location ~` lists a directory whose `alias` has no slash at its end; nginx cuts a letter off its name: 404.
- `max_headers` counts all lines of a head; nginx leaves out those that it drops for their names.
- HTTP/2 to upstreams and gRPC: a response is read ahead by 256 KB at most, nginx opens the window as far as it goes; an upstream
  that sends anything before its SETTINGS is refused; a request that it refused or had not begun before GOAWAY is sent again,
  whatever its method. `grpc_set_header` refuses a name that is none, where nginx sends it.
  `$upstream_status` is that of the final head, where nginx logs the 103 before it; `$upstream_response_length` counts
  the frames of the body and its trailers, in nginx also the window updates, resets and GOAWAY that come with them.
- HTTP/2: a malformed request gets 400 and a reset of its stream; frames that are wrong in themselves end the connection; request
  trailers are accepted, checked and dropped; `Expect: 100-continue` is answered; a body has at most 1 MB under way; budgets
  against floods are tighter and have a log line each. `http2_chunk_size` is 16k by default and at most (nginx: 8k).
  A stream that is answered before its request has come keeps its window open and is reset a quarter of a second later; nginx
  resets it at once, and curl 7.88 then reports an error in place of the answer. Fields that are never to be indexed stay so on
  the way to an upstream of HTTP/2, and from there to the client, unless they come from a cache, which stores heads as HTTP/1
  has them.
  `http2_extended_connect` (RFC 8441) is wproxy's own.
- An unknown flag of `proxy_cookie_flags` is an error of the configuration, not of each request.
- A final response of 1xx (`return 103`, `error_page 404 =101 /x`, also that of a refused request) ends the connection and has no
  body: clients take it for an interim response and wait for another one, and would read its body as the beginning of that.
- `auth_jwt` reads signed tokens (JWS) with keys from files; `auth_jwt_key_request` and encrypted tokens are not there. A file of
  keys that has changed counts at once, unless auth_jwt_key_cache says otherwise.
- `limit_req_zone`, `limit_conn_zone` and `sticky learn` share what they know between machines by `sync=redis://…`
  (docs/shared-limits.md); nginx Plus does by `sync` and `zone_sync`, a cluster of its own, which wproxy does not have.
- `sticky learn` without `header` learns a session of an upgraded connection when the tunnel begins, not when it ends.
- `proxy_cache`: a stored response has a Content-Length, also where the upstream sent none; a client that leaves before the
  head of the answer, and one that gets a 412, do not keep it from being stored; the connection of a client is free while its
  stored response is updated; HEAD is sent as HEAD where the answer is not going to be stored; `Vary: Accept, *` is not stored.
  Bodies are always written in the directory of the cache, whatever `use_temp_path` says. Without `fastcgi_cache_key` and the
  like the key is the method and the URL, where nginx keeps all responses under one empty key. A key may be longer than
  proxy_buffer_size, up to 64 KB with the head, and is stored all the same. A 416 for a stored response has lines of
  `add_header ... always` once, where nginx writes them twice. What HEAD has got, with `proxy_cache_convert_head off` or from
  FastCGI, uwsgi or SCGI, and with no `$request_method` in the key, does not answer a GET: nginx sends it without a body, and
  any HEAD empties a page. Without a Content-Length it is not stored. Where the key has `$request_body`, and the body is in a
  file or streamed, nothing is looked up or stored (`BYPASS`): in nginx all such requests have one key.
- `$proxy_host` and `$proxy_port` are those of the location's proxy_pass also where the request was answered before it came to
  that, by `return` or a refusal; nginx leaves them empty there.
- `$request_completion` is empty, too, when a response was cut short because the upstream broke off, and `$bytes_sent` does not
  count `100 Continue`.
- `$sent_http_content_type` is what was sent. nginx remembers its first value, and the first to ask may be a `map` for `expires`
  or `add_header`, before the character set is added; after a 204 its log has a type that nobody got.
- `add_header`, `add_trailer` and `expires` see a response in parts as it is sent: 206, its length, and multipart/byteranges where
  there are several. In nginx their variables are those of the whole 200, which is cut later.
- A client that waits for `100 Continue` and is answered without its body is told `Connection: close`; nginx goes on to read from
  it, and a client that sends its next request in place of the body has that taken for the body.
- Methods are case-sensitive in `proxy_method`, too: the response to `head` has a body, if the upstream knows such a method.
- Messages of the error log begin as in nginx, and go on where there is more to say: the timer or limit that ended a request, and
  the place of its directive.
"""


def compatibility_page() -> str:
    """Return the whole page."""
    carried_out = [name for name, rows in REGISTRY.items() if any(row not in ACCEPTED.get(name, ()) for row in rows)]
    parameters = {word: guards for rows in REGISTRY.values() for row in rows for word, guards in row.idle_parameters.items()}
    parts = [_HEAD, "## Working\n", "Each is described in [directives.md](directives.md).\n", _names(carried_out)]
    parts += [
        "\n## Refused at a start\n",
        "Accepted by `-t`. Without them the server would let in, show or do more than the configuration says, so it does not "
        "start (nor reload) with them. A value that switches a directive off, such as `auth_basic off`, is fine.\n",
        *_by_module(lambda row: row.guards),
        _line("Parameters of `listen`.", (name for name, guards in parameters.items() if guards)),
        "\n## Accepted, without effect yet\n",
        "Named by `-t` and at a start, once each.\n",
        *_by_module(lambda row: not row.effective and not row.guards),
        _line("Parameters of `listen`.", (name for name, guards in parameters.items() if not guards)),
        "\n## Accepted, with nothing to tune\n",
        "They tune nginx's internals: nothing that a client, an upstream or an operator sees depends on them.\n",
        _names(HARMLESS),
        "\n## Not known\n",
        "Everything else is an error, with a suggestion where it looks like a typing mistake: directives of nginx's commercial "
        "edition and of third-party modules (`more_set_headers`, `brotli`, `lua_*`, ...).\n",
    ]
    return "\n".join(part if part.startswith(("#", "\n#", "-")) else _wrapped(part) for part in parts if part)


def _by_module(wanted: Callable[[Directive], bool]) -> list[str]:
    """Return a line for each module that has rows of this kind."""
    lines = []
    for purpose, entries in MODULES.items():
        names = (name for entry in entries for name in entry.names.split())
        found = dict.fromkeys(name for name in names if any(wanted(row) for row in ACCEPTED.get(name, ())))
        lines.append(_line(purpose, found))
    return [line for line in lines if line]


def _line(purpose: str, names: Iterable[str]) -> str:
    """Return one item of a list; empty without names."""
    shown = _names(names)
    title = purpose.removesuffix(".").replace(" (", "; ").rstrip(")") if " (" in purpose else purpose.removesuffix(".")
    text = f"- {title}: {' '.join(shown.split())}"
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) if shown else ""


def _names(names: Iterable[str]) -> str:
    """Return names in code style, sorted."""
    return _wrapped(", ".join(f"`{name}`" for name in sorted(set(names))))


def _wrapped(text: str) -> str:
    """Return a paragraph wrapped; a text of several paragraphs is left alone."""
    if "\n" in text.rstrip("\n"):
        return text
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n" * text.endswith("\n")


def main() -> int:
    """Write what is generated here; return the exit code."""
    return write_pages({os.path.join(DOCS, PAGE): compatibility_page()})


if __name__ == "__main__":
    sys.exit(main())
