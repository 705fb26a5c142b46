"""The configurations of the proxies and the backend, as text. wproxy and nginx read the same nginx.conf.

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
worker_rlimit_nofile 20000;
events {{ worker_connections 9000; }}
http {{
    access_log {access_log};
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
{peers}        keepalive 64;
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
{servers}    server {{
        listen 127.0.0.1:{port} backlog=4096{listen};
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
        location /limit_req/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            limit_req zone=requests burst=1000 nodelay;
        }}
        location /gzip/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            gzip on;
            gzip_types text/plain;
        }}
        location = /return {{
            default_type text/plain;
            return 200 "ok";
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
        listen 127.0.0.1:{port} backlog=4096;
{more_listens}        listen unix:{folder}/calls http2;
        root {folder}/files;
        location / {{ return 200 "{small_body}"; }}
        location = /10m {{ try_files /10m =404; }}
        location = /100k {{ try_files /100k =404; }}
        location = /1k {{ try_files /1k =404; }}
        location = /text {{ default_type text/plain; try_files /text =404; }}
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

# What the configuration of a workload may have: nothing more; an access log; counters that are shown; 1,000 servers; 100 peers.
SITES = ("plain", "access_log", "metrics", "servers", "peers")
PEERS = tuple(f"127.0.1.{number}" for number in range(1, 101))

_NAMED_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        server_name s{number}.test;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Connection "";
        }}
    }}
"""

# Connections to servers are shared among clients, as those of nginx are.
_HAPROXY = """\
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 60s
    timeout client 75s
    timeout server 60s
    timeout tunnel 60s
    http-reuse always
frontend front
    bind 127.0.0.1:{port} backlog 4096{options}
    option forwardfor
    http-request set-header X-Real-IP %[src]
    http-request replace-path /unbuffered(/.*) \\1
    use_backend streams if {{ path_beg /streams/ }}
    default_backend backend
backend backend
    balance roundrobin
{servers}backend streams
    server streams 127.0.0.1:{streams_port}
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
    site: str = "plain",
    shows: str = "",
    php: str = "/nonexistent",
    calls: str = "/nonexistent",
) -> str:
    """Return nginx.conf of the proxy; streams_port: that of `bench.streams`; listen, site: as in `Workload`.

    shows: the directive that shows counters, where the site has one. php: PHP-FPM's folder. calls: the socket on which the
    backend speaks HTTP/2. As root the worker stays root, to enter the private folder.
    """
    addresses = PEERS if site == "peers" else ["127.0.0.1"]
    server = "".join(f"        {name} {value};\n" for name, value in _server(listen)).format(folder=folder)
    if site == "metrics" and shows:
        server += f"        location = /metrics {{ {shows}; }}\n"
    return (_NGINX_HEAD + _NGINX_PROXY).format(
        folder=folder,
        port=port,
        peers="".join(f"        server {address}:{backend_port};\n" for address in addresses),
        servers="".join(_NAMED_SERVER.format(number=number, port=port) for number in range(1000)) if site == "servers" else "",
        access_log=f"{folder}/access.log" if site == "access_log" else "off",
        user="user root;" if is_root else "",
        streams_port=streams_port,
        listen=_LISTEN[listen],
        php=php,
        calls=calls,
        shipped=SHIPPED,
        server=server,
    )


def haproxy(
    folder: str, port: int, backend_port: int, *, streams_port: int = 9, listen: str = "http", site: str = "plain"
) -> str:
    """Return haproxy.cfg of the proxy, for what it can do. Its certificate and key are in one file, and so it gets a copy."""
    addresses = PEERS if site == "peers" else ["127.0.0.1"]
    options = {"http": "", "tls": f" ssl crt {folder}/both.pem", "h2c": " proto h2", "h2": f" ssl crt {folder}/both.pem alpn h2"}
    return _HAPROXY.format(
        port=port,
        options=options[listen],
        servers="".join(f"    server s{number} {address}:{backend_port}\n" for number, address in enumerate(addresses)),
        streams_port=streams_port,
    )


def nginx_backend(folder: str, port: int, *, is_root: bool) -> str:
    """Return nginx.conf of the backend behind both: it answers from memory and from the files below `files`."""
    user = "user root;" if is_root else ""
    more_listens = "".join(f"        listen {address}:{port} backlog=4096;\n" for address in PEERS)
    return (_NGINX_HEAD + _NGINX_BACKEND).format(
        folder=folder, port=port, user=user, small_body=SMALL_BODY, access_log="off", more_listens=more_listens
    )


def php_fpm(folder: str, *, is_root: bool) -> str:
    """Return the configuration of PHP-FPM, the application behind `fastcgi_pass`."""
    return _PHP_FPM.format(folder=folder, user="user = root" if is_root else "")
