"""docs/nginx-compatibility.md: what of nginx is carried out, accepted, refused, as the tables in `wproxy/directives/` say.

    python -m wproxy.config.compatibility

writes it anew.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterable

import wproxy.config.model  # noqa: F401  # fills the registry
from wproxy.config.describe import DOCS
from wproxy.config.registry import REGISTRY, Directive
from wproxy.directives.accepted import ACCEPTED, HARMLESS, MODULES

PAGE = "nginx-compatibility.md"
_WIDTH = 120

_HEAD = """\
# Coming from nginx

Written by `python -m wproxy.config.compatibility` from the tables in `wproxy/directives/`: change those, not this page.

wproxy reads nginx.conf as it is. Names, contexts, inheritance, messages and exit codes are nginx's; what is not carried out yet
is said, never passed over.

## Moving a server

1. `wproxy -t -c /etc/nginx/nginx.conf` reads the file as a start would. Warnings name what is accepted and has no effect yet;
   what is unknown is an error with its place. A start goes further than `-t`: it refuses what would make the server less safe
   than its configuration says (below).
2. `wproxy check /etc/nginx/nginx.conf` looks for mistakes that load without complaint, each with the reason and the fix.
3. `wproxy explain -c /etc/nginx/nginx.conf http://example.com/path` tells, without sending anything, which server and location
   take a request, what the upstream would receive and where every setting was written.
4. For the programs around nginx (systemd, logrotate, certbot) make a link named `nginx` to `wproxy`, or run
   `wproxy --as-nginx`: the same options and signals, the same paths (`/etc/nginx/nginx.conf`, `/run/nginx.pid`,
   `/var/log/nginx/`), `Server: nginx`.
5. `wproxy convert /etc/nginx/nginx.conf > wproxy.toml` writes the same tree in TOML, includes in their places and with the
   comments; `wproxy convert wproxy.toml` goes back, and a second round changes nothing. TOML has no brace that ends a block: a
   comment after the last directive of one is indented, by four blanks for each block around it. Nobody has to convert: every
   command reads both syntaxes, and the name of a file decides.

## Different on purpose

- Requests go upstream with HTTP/1.1 and connections are kept (`keepalive 32`), also those of a `proxy_pass` to a bare address;
  nginx speaks HTTP/1.0 and closes in its older versions, and never keeps those of a bare address.
- All errors of a file are told in one run, not only the first.
- Regular expressions are those of PCRE as far as Python's `re` can carry them out with the same meaning; the others are an error
  where they stand. One that takes too long is stopped and counts as not matching, with a line in the error log.
- With `ignore_invalid_headers off` names of the characters that HTTP allows pass (`x_foo`, `x.foo`), and any other is a 400;
  nginx passes on what no server behind it reads alike (`x(foo`, 8-bit bytes).
- The health of upstream servers is shared by all workers, with or without `zone`; so `health_check` needs no `zone` either.
- `health_check` and `match`, which nginx has in its commercial edition only, are carried out, but for `type=grpc`; there is
  `type=tcp`, a check that only connects. An unhealthy server stays unhealthy over a reload.
- Where the workers' user may write, root does not trust names: as a log, a pid file or a state file it takes a regular file with
  one name that belongs to root, to that user or to the directory's owner, and it follows only links that another has made (root's
  own link to `/dev/stdout` for example). nginx opens, and gives away, whatever a worker that was broken into has put there.
- `api write=on` refuses changes that a browser sends for a page of another origin than the Host, or under a name that is neither
  a `server_name` nor an address nor localhost (403), and bodies of `text/plain`. Programs, `curl -d` among them, notice nothing.
- A `#` in a request target and what follows it are dropped, also from `$request_uri`; nginx routes without them and sends them on
  where proxy_pass has no URI.
- The directories of logs and pid files are made where nothing but wproxy's own defaults lead there (`logs`, `run`).
- What is not carried out yet is read as nginx reads it, zones, upstreams and certificates included; not tried are
  `ssl_conf_command`, `ssl_ecdh_curve` and the file of `ssl_stapling_file`, modules are not loaded, and no size of a hash table is
  too small, since there are none.
- `aio on` is taken: whether nginx takes it depends on how it was built.
- Requests that nginx lets through and that two servers may read in two ways are refused with 400: control characters and bare
  CRs anywhere in a head, fields without a colon, folded ones, bare LFs in chunks, trailers that are no fields, names of hosts
  with other characters than letters, digits, `.`, `-` and `_`, ports that are none, schemes other than http and https, HTTP/0.9,
  versions as `1.01`, methods of more than 32 letters. A body that ends early is answered with 400, too.
- To upstreams Host is the first field. What a client names in Connection goes no further, nor do Proxy and HTTP2-Settings.
- With `proxy_pass_request_body off` the request has no Content-Length; nginx lets the upstream wait for the body unless
  `proxy_set_header Content-Length ""` is there, too.
- A kept connection to an upstream that turns out to be dead is no failure of the server: the request is sent again, over a
  new one.
- An answer always has a Date, also with `proxy_pass_header Date` where the upstream sent none (RFC 9110, 6.6.1); a status line
  whose reason is empty keeps the space before it (RFC 9112, 4).
- X-Accel-Charset may name any character set, not only those that some directive mentions. A variable of `charset` that is empty
  is no character set, where nginx breaks off the request. The character set of an answer that was replaced is gone with it.
- `server_name_in_redirect` with an empty `server_name` leaves the client's host, where nginx writes a Location without one.
- `max_headers` counts all lines of a head; nginx leaves out those that it drops for their names.
- A flag of `proxy_cookie_flags` that does not exist is an error of the configuration, and not of each request.
"""


def compatibility_page() -> str:
    """The whole page."""
    carried_out = [name for name, rows in REGISTRY.items() if any(row not in ACCEPTED.get(name, ()) for row in rows)]
    parameters = {word: guards for rows in REGISTRY.values() for row in rows for word, guards in row.idle_parameters.items()}
    parts = [_HEAD, "## Carried out\n", "Each is described in [directives.md](directives.md).\n", _names(carried_out)]
    parts += [
        "\n## Refused at a start\n",
        "Accepted by `-t`. Without them more would be let in, shown or done than the configuration says, so a server does not "
        "start (nor reload) with them. A value that asks for nothing, as `auth_basic off`, is fine. `https://` in `proxy_pass` "
        "is refused too.\n",
        *_by_module(lambda row: row.guards),
        _line("Parameters of `listen`.", (name for name, guards in parameters.items() if guards)),
        "\n## Accepted, without effect yet\n",
        "Named by `-t` and at a start, once each.\n",
        *_by_module(lambda row: not row.effective and not row.guards),
        _line("Parameters of `listen`.", (name for name, guards in parameters.items() if not guards)),
        "\n## Accepted, with nothing to do\n",
        "They tune the inside of nginx: nothing that a client, an upstream or an operator sees depends on them.\n",
        _names(HARMLESS),
        "\n## Not known\n",
        "Everything else is an error, with a suggestion where it looks like a typing mistake: directives of commercial nginx "
        "and of modules that other people distribute (`more_set_headers`, `brotli`, `lua_*`, ...).\n",
    ]
    return "\n".join(part if part.startswith(("#", "\n#", "-")) else _wrapped(part) for part in parts if part)


def _by_module(wanted: Callable[[Directive], bool]) -> list[str]:
    """A line for each module that has rows of this kind."""
    lines = []
    for purpose, entries in MODULES.items():
        names = (name for entry in entries for name in entry.names.split())
        found = dict.fromkeys(name for name in names if any(wanted(row) for row in ACCEPTED.get(name, ())))
        lines.append(_line(purpose, found))
    return [line for line in lines if line]


def _line(purpose: str, names: Iterable[str]) -> str:
    """One item of a list; empty without names."""
    shown = _names(names)
    title = purpose.removesuffix(".").replace(" (", "; ").rstrip(")") if " (" in purpose else purpose.removesuffix(".")
    text = f"- {title}: {' '.join(shown.split())}"
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) if shown else ""


def _names(names: Iterable[str]) -> str:
    """Names in code style, sorted."""
    return _wrapped(", ".join(f"`{name}`" for name in sorted(set(names))))


def _wrapped(text: str) -> str:
    """A paragraph; a text of several is left alone."""
    if "\n" in text.rstrip("\n"):
        return text
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n" * text.endswith("\n")


def main() -> int:
    """Write it; returns the exit code."""
    path = os.path.normpath(os.path.join(DOCS, PAGE))
    with open(path, "w", encoding="utf-8") as file:
        file.write(compatibility_page())
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
