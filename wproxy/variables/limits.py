"""Variables of limits: what became of the request there; not found where no limit decided."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.variables.registry import REQUEST, variable


@variable("limit_req_status", REQUEST)
def limit_req_status(request: Request) -> bytes | None:
    return (request.main or request).limit_req_status


@variable("limit_conn_status", REQUEST)
def limit_conn_status(request: Request) -> bytes | None:
    return (request.main or request).limit_conn_status
