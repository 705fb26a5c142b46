"""`wproxy proxy LISTEN UPSTREAM...`: the wproxy.toml that such a command line stands for."""

from __future__ import annotations

import json
from collections.abc import Sequence

_TEXT = """\
# wproxy proxy {words}
worker_processes = {workers}
daemon = false
pid = "off"
api_socket = "off"
error_log = {{ stderr = "notice" }}

[http]
access_log = {{ stdout = "line" }}
# limit_conn_zone = [["$binary_remote_addr", "zone=per_address:10m"]]

[http.log_format]
line = [
  "$time_iso8601  $status  $request_method $host$request_uri -> $upstream_addr",
  "  $body_bytes_sent bytes  $request_time s  from $remote_addr",
]

[http.upstream.application]
server = [{servers}]

[[http.server]]
listen = {listen}
{tls}client_max_body_size = "1g"
large_client_header_buffers = [4, "8k"]
client_header_timeout = "15s"
client_body_timeout = "30s"
# limit_conn = [["per_address", 100]]

[http.server.location."/"]
proxy_pass = "http://application"

[http.server.location."/".proxy_set_header]
Host = "$http_host"
X-Real-IP = "$remote_addr"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
X-Forwarded-Proto = "$scheme"
Upgrade = "$http_upgrade"
Connection = "$wproxy_connection_upgrade"
"""


_TLS = """\
ssl_certificate = {certificate}
ssl_certificate_key = {key}
error_page = [[497, "=307", "https://$http_host$request_uri"]]
"""


def quick_configuration(
    listen: str, upstreams: Sequence[str], workers: str, certificate: tuple[str, str] | None = None, has_http2: bool = False
) -> str:
    """Return the text of the configuration: every request of one listener goes to one pool.

    certificate: the paths of one and of its key, to serve HTTPS; has_http2: and HTTP/2 at once.
    """
    tls, address = "", _quoted(listen)
    if certificate is not None:
        tls = _TLS.format(certificate=_quoted(certificate[0]), key=_quoted(certificate[1])) + (
            "http2 = true\n" if has_http2 else ""
        )
        address = f'[[{address}, "ssl"]]'
    words = [*(["--tls"] if certificate is not None else []), listen, *upstreams]
    return _TEXT.format(
        words=" ".join(word if word.isprintable() else _quoted(word) for word in words),
        workers=_quoted(workers),
        listen=address,
        tls=tls,
        servers=", ".join(map(_quoted, upstreams)),
    )


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's, except for surrogate pairs, which TOML refuses, and DEL, which JSON leaves raw."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
