"""Requests that reach the upstream with another body, framing or method than the client's: proxy_set_body, proxy_method,
proxy_pass_request_body and a Content-Length of proxy_set_header (proxy.md §1.3).

This is computed at load: a location that changes neither pays one look at `passing.reshape`.
"""

from __future__ import annotations

from typing import Final

from worker.upstream.module_settings import ModuleSettings
from worker.upstream.outgoing import Reshape, Streaming, outgoing_of
from worker.upstream.passing import HeadPlan, WriteHead
from wproxy.http import Request
from wproxy.request_body import BODILESS, EMPTY, NO_BODY, Outgoing
from wproxy.template import Template

# The fields that tell the end of a body: if proxy_set_header sets one, the end may be elsewhere.
FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))


def reshaping(settings: ModuleSettings, streaming: Streaming) -> Reshape | None:
    """Return the function that makes the body for the upstream; None if it is the client's. Raises like `outgoing_of`."""
    template: Template | None = settings.get("set_body")
    method: Template | None = settings.get("method")
    passes = settings.get("pass_request_body", True)
    frames_itself = bool({name.lower() for name, _ in settings.get("set_header", ())} & FRAMING)
    if template is None and passes and method is None and not frames_itself:
        return None

    async def reshape(request: Request) -> Outgoing | None:
        own: Outgoing | None = BODILESS if request.fields.content_length < 0 else EMPTY
        if request.body is not None:
            # It is read all the same: $request_body may need it, and so may another location.
            own = await outgoing_of(request, request.body, streaming)
            if own is None:
                return None
        assert own is not None
        if template is not None:
            data = template.evaluate(request)
            outgoing = Outgoing(len(data), data, None)
        elif passes:
            outgoing = Outgoing(own.length, own.at_hand, own.rest, own.file)
        else:
            # nginx still announces the length of a body that it does not send, and the upstream waits for it.
            outgoing = Outgoing(NO_BODY, b"", None)
        if frames_itself and (outgoing.at_hand or outgoing.rest is not None or outgoing.file is not None):
            # The upstream may take the body, or a part of it, for the next request.
            outgoing.ends_connection = outgoing.has_more = True
        if method is not None:
            request.sent_method = method_for(method, request)
            if (request.method == b"HEAD") != (request.sent_method == b"HEAD"):
                # The answer has a body that is not wanted, or announces one that does not come: then the client waits for it.
                outgoing.ends_connection = outgoing.has_more = True
                if request.method != b"HEAD":
                    request.keepalive = False
        return outgoing

    return reshape


def head_writer(settings: ModuleSettings, plan: HeadPlan) -> WriteHead:
    """Return the function that writes the heads of requests, with the method of proxy_method in place of the client's."""
    template: Template | None = settings.get("method")
    if template is None:
        return plan.head

    def write_head(request: Request, length: int) -> bytes:
        own = request.method
        request.method = method_for(template, request)
        try:
            return plan.head(request, length)
        finally:
            request.method = own

    return write_head


def method_for(template: Template, request: Request) -> bytes:
    """Return the method of proxy_method; the client's own if the value is not a method."""
    method = template.evaluate(request)
    return method if method and not method.translate(None, _TOKEN) else request.method


# The bytes of a method (RFC 9110, 5.6.2). Any other value is not sent, lest a variable break the request line.
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
