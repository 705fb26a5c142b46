"""Variables of FastCGI: the script that a URI names, and the rest of the path (nginx: ngx_http_fastcgi_split)."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.variables.registry import LINE, variable


def split(request: Request) -> tuple[bytes, bytes]:
    """Return script and path info of the URI, as fastcgi_split_path_info divides it."""
    regex = request.location.fastcgi_split_path_info
    match = regex.search(request.path) if regex is not None else None
    return (request.path, b"") if match is None else (match[1] or b"", match[2] or b"")


@variable("fastcgi_script_name", LINE)
def fastcgi_script_name(request: Request) -> bytes:
    """The script; with fastcgi_index after it if it ends in a slash."""
    script, _ = split(request)
    if not script.endswith(b"/"):
        return script
    return script + (request.location.fastcgi_index or "").encode("utf-8", "surrogateescape")


@variable("fastcgi_path_info", LINE)
def fastcgi_path_info(request: Request) -> bytes:
    return split(request)[1]
