"""The configurations of both proxies and the backend. Pure text: the two proxies must differ only in notation.

nginx's defaults are kept wherever they are not a matter of the comparison (`proxy_buffering on`, `keepalive_requests` 1000, a
temporary file when the client is slower than the upstream), because that is what people run.
"""

from __future__ import annotations

import os

# The files that come with wproxy; both proxies send the same parameters.
SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "wproxy", "shipped")
SMALL_BODY = "0123456789" * 4

_NGINX_HEAD = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""

_NGINX_PROXY = """\
    limit_req_zone $binary_remote_addr zone=requests:10m rate=1000000r/s;
    limit_conn_zone $binary_remote_addr zone=connections:10m;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=pages:10m;
    upstream backend {{
        server 127.0.0.1:{backend_port};
        keepalive 64;
    }}
    upstream streams {{
        server 127.0.0.1:{streams_port};
        keepalive 64;
    }}
    upstream calls {{
        server unix:{calls};
        keepalive 64;
    }}
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    server {{
        listen 127.0.0.1:{port}{listen};
{server}        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Connection "";
            client_max_body_size 32m;
        }}
        location /limited/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Connection "";
            limit_req zone=requests burst=1000 nodelay;
            limit_conn connections 1000;
        }}
        location /cached/ {{
            proxy_pass http://backend/;
            proxy_cache pages;
            proxy_cache_valid 200 1d;
        }}
        location /unbuffered/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
        location /streams/ {{
            proxy_pass http://streams;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            client_max_body_size 32m;
        }}
        location /php/ {{
            root {php};
            include {shipped}/fastcgi.conf;
            fastcgi_pass unix:{php}/fpm.sock;
        }}
        location /grpc/ {{
            grpc_pass grpc://calls;
        }}
        location /static/ {{
            root {folder};
            sendfile on;
            tcp_nopush on;
        }}
    }}
}}
"""

_PHP_FPM = """\
[global]
daemonize = no
error_log = {folder}/output
[www]
{user}
listen = {folder}/fpm.sock
pm = static
pm.max_children = 4
"""

# client_header_buffer_size: the posted kilobyte arrives with the head, in one read.
_NGINX_BACKEND = """\
    sendfile on;
    keepalive_requests 1000000000;
    client_header_buffer_size 8k;
    upstream small {{
        server 127.0.0.1:{port};
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        listen unix:{folder}/calls http2;
        root {folder}/files;
        location / {{ return 200 "{small_body}"; }}
        location = /10m {{ try_files /10m =404; }}
        location = /1k {{ try_files /1k =404; }}
        location = /grpc/10m {{ try_files /10m =404; }}
        # An answer before the end of a call resets its stream, which nginx's grpc_pass takes for an error.
        location /grpc/ {{
            proxy_pass http://small/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""

_WPROXY = """\
worker_processes = 1
daemon = false
pid = "{folder}/wproxy.pid"
error_log = {{ "{folder}/error.log" = "error" }}
{user}
[events]
worker_connections = 4096
[http]
access_log = "off"
limit_req_zone = [["$binary_remote_addr", "zone=requests:10m", "rate=1000000r/s"]]
limit_conn_zone = [["$binary_remote_addr", "zone=connections:10m"]]
proxy_cache_path = [["{folder}/cache", "levels=1:2", "keys_zone=pages:10m"]]
[http.upstream.backend]
server = ["127.0.0.1:{backend_port}"]
keepalive = 64
[http.upstream.calls]
server = ["unix:{calls}"]
keepalive = 64
[http.upstream.streams]
server = ["127.0.0.1:{streams_port}"]
keepalive = 64
[http.map."$http_upgrade $connection_upgrade"]
default = "upgrade"
"" = ""
[[http.server]]
listen = {listen}
{server}[http.server.location."/"]
proxy_pass = "http://backend"
proxy_http_version = "1.1"
client_max_body_size = "32m"
[http.server.location."/".proxy_set_header]
Host = "$host"
X-Real-IP = "$remote_addr"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
X-Forwarded-Proto = "$scheme"
Connection = ""
[http.server.location."/limited/"]
proxy_pass = "http://backend/"
proxy_http_version = "1.1"
limit_req = [["zone=requests", "burst=1000", "nodelay"]]
limit_conn = [["connections", 1000]]
[http.server.location."/limited/".proxy_set_header]
Host = "$host"
X-Real-IP = "$remote_addr"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
X-Forwarded-Proto = "$scheme"
Connection = ""
[http.server.location."/cached/"]
proxy_pass = "http://backend/"
proxy_cache = "pages"
proxy_cache_valid = [[200, "1d"]]
[http.server.location."/unbuffered/"]
proxy_pass = "http://backend/"
proxy_http_version = "1.1"
proxy_buffering = false
[http.server.location."/unbuffered/".proxy_set_header]
Connection = ""
[http.server.location."/streams/"]
proxy_pass = "http://streams"
proxy_http_version = "1.1"
client_max_body_size = "32m"
[http.server.location."/streams/".proxy_set_header]
Upgrade = "$http_upgrade"
Connection = "$connection_upgrade"
[http.server.location."/php/"]
root = "{php}"
include = "{shipped}/fastcgi.conf"
fastcgi_pass = "unix:{php}/fpm.sock"
[http.server.location."/grpc/"]
grpc_pass = "grpc://calls"
[http.server.location."/static/"]
root = "{folder}"
sendfile = true
tcp_nopush = true
"""


# The end of `listen` for each way of listening.
_LISTEN = {"http": "", "tls": " ssl", "h2c": " http2", "h2": " ssl http2"}


def _server(listen: str) -> list[tuple[str, str]]:
    """Return the settings of the server that a way of listening needs beside its parameters."""
    settings: list[tuple[str, str]] = []
    if "ssl" in _LISTEN[listen]:
        settings += [("ssl_certificate", "{folder}/certificate.pem"), ("ssl_certificate_key", "{folder}/key.pem")]
        # Debian's nginx 1.22 speaks no TLS 1.3 unless it is told to; resuming a session of TLS 1.2 is a third of the work.
        settings.append(("ssl_protocols", "TLSv1.2 TLSv1.3"))
    if "http2" in _LISTEN[listen]:
        # h2load does not open another connection when one has had its thousand requests.
        settings.append(("keepalive_requests", "1000000000"))
    return settings


def nginx_proxy(
    folder: str,
    port: int,
    backend_port: int,
    *,
    is_root: bool,
    streams_port: int = 9,
    listen: str = "http",
    php: str = "/nonexistent",
    calls: str = "/nonexistent",
) -> str:
    """Return nginx.conf of the proxy; streams_port: that of `bench.streams`; listen: as in `Workload`.

    php: PHP-FPM's folder. calls: the socket on which the backend speaks HTTP/2.
    As root the worker stays root, to enter the private folder.
    """
    user = "user root;" if is_root else ""
    server = "".join(f"        {name} {value};\n" for name, value in _server(listen)).format(folder=folder)
    return (_NGINX_HEAD + _NGINX_PROXY).format(
        folder=folder,
        port=port,
        backend_port=backend_port,
        user=user,
        streams_port=streams_port,
        listen=_LISTEN[listen],
        php=php,
        calls=calls,
        shipped=SHIPPED,
        server=server,
    )


def _toml_value(value: str) -> str:
    """Return nginx's arguments of a directive as a value of TOML."""
    words = [f'"{word}"' for word in value.split()]
    return value if value.isdigit() else words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _toml_listen(port: int, parameters: list[str]) -> str:
    words = ", ".join(f'"{word}"' for word in (f"127.0.0.1:{port}", *parameters))
    return f"[[{words}]]" if parameters else words


def nginx_backend(folder: str, port: int, *, is_root: bool) -> str:
    """Return nginx.conf of the backend behind both: it answers from memory and from the files `files/10m` and `files/1k`."""
    user = "user root;" if is_root else ""
    return (_NGINX_HEAD + _NGINX_BACKEND).format(folder=folder, port=port, user=user, small_body=SMALL_BODY)


def php_fpm(folder: str, *, is_root: bool) -> str:
    """Return the configuration of PHP-FPM, the application behind `fastcgi_pass`."""
    return _PHP_FPM.format(folder=folder, user="user = root" if is_root else "")


def wproxy_proxy(
    folder: str,
    port: int,
    backend_port: int,
    *,
    is_root: bool,
    streams_port: int = 9,
    listen: str = "http",
    php: str = "/nonexistent",
    calls: str = "/nonexistent",
) -> str:
    """Return wproxy.toml of the proxy: `nginx_proxy`, in our notation."""
    user = 'user = "root"' if is_root else ""
    values = [(name, _toml_value(value)) for name, value in _server(listen)]
    return _WPROXY.format(
        folder=folder,
        port=port,
        backend_port=backend_port,
        user=user,
        streams_port=streams_port,
        listen=_toml_listen(port, _LISTEN[listen].split()),
        php=php,
        calls=calls,
        shipped=SHIPPED,
        server="".join(f"{name} = {value}\n" for name, value in values).format(folder=folder),
    )
