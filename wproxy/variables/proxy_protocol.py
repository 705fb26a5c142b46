"""Variables of the PROXY protocol's header that a connection began with; not found without one."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.proxy_protocol import find_tlv
from wproxy.variables.registry import BLOCK, Variable, complain, family, variable


@variable("proxy_protocol_addr")
def proxy_protocol_addr(request: Request) -> bytes | None:
    header = request.client.proxy_protocol
    return header.source if header is not None else None


@variable("proxy_protocol_port")
def proxy_protocol_port(request: Request) -> bytes | None:
    header = request.client.proxy_protocol
    return _shown(header.source_port) if header is not None else None


@variable("proxy_protocol_server_addr")
def proxy_protocol_server_addr(request: Request) -> bytes | None:
    header = request.client.proxy_protocol
    return header.destination if header is not None else None


@variable("proxy_protocol_server_port")
def proxy_protocol_server_port(request: Request) -> bytes | None:
    header = request.client.proxy_protocol
    return _shown(header.destination_port) if header is not None else None


def _shown(port: int) -> bytes:
    return b"%d" % port if port else b""


@family("proxy_protocol_tlv_")
def proxy_protocol_tlv(rest: str) -> Variable:
    name = rest.encode("utf-8", "surrogateescape")

    def read(request: Request) -> bytes | None:
        header = request.client.proxy_protocol
        if header is None:
            return None
        try:
            return find_tlv(header.tlvs, name)
        except ValueError as error:
            if str(error):
                complain(request, "error", str(error))
            return None

    return Variable(read, BLOCK)
