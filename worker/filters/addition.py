"""add_before_body, add_after_body (subrequests.md §4; nginx: src/http/modules/ngx_http_addition_filter_module.c).

A part is the response of a subrequest; if that fails, it is its error page. The first part begins when the head of the response
is there, the last when its body has been read.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.filters.fields import copied, forget_length, has_type, next_key, weaken_etag
from worker.inclusion import Inclusion, Joined, Part
from worker.logs import log_request
from worker.loop import Loop
from worker.services import Services
from worker.subrequest import Cycle, Subrequest
from wproxy.bodies import BodySource
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.http import Request, Response, ResponseFields


def addition_filter(location: Location, services: Services) -> Addition | None:
    """Return the filter of a location; None if it adds nothing."""
    return Addition(location, services.loop) if location.add_before_body or location.add_after_body else None


class Addition:
    """The filter of one location. key: the place of the changed fields on the originals."""

    __slots__ = ("_after", "_before", "_key", "_loop", "_types")

    def __init__(self, location: Location, loop: Loop) -> None:
        self._before = location.add_before_body
        self._after = location.add_after_body
        self._types = changed_types(location.addition_types)
        self._loop = loop
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response that gets no parts; None if it does."""
        return None if self._applies(fields) else fields

    def __call__(self, request: Request, response: Response) -> Response:
        """Put the parts around the body."""
        fields = response.fields
        if not self._applies(fields) or response.tunnel is not None:
            return response
        changed = fields.wire.get(self._key)
        if changed is None:
            changed = fields.wire[self._key] = copied(fields)
            forget_length(changed)
            weaken_etag(changed)
        response.fields = changed
        if not response.bodiless:
            response.source = Joined(self._parts(request, response.body, response.source), response.source)
            response.body = b""
        return response

    def _applies(self, fields: ResponseFields) -> bool:
        return fields.status == 200 and has_type(fields, self._types)

    def _parts(self, request: Request, at_hand: bytes, source: BodySource | None) -> Iterator[Part]:
        yield from self._include(request, self._before, "add_before_body")
        yield at_hand
        if source is not None:
            yield source
        yield from self._include(request, self._after, "add_after_body")

    def _include(self, request: Request, path: bytes | None, made_by: str) -> Iterator[Part]:
        if path is not None:
            try:
                yield Inclusion(Subrequest(request, path, made_by=made_by), self._loop)
            except Cycle as cycle:
                log_request(request, "error", f"{cycle} while sending response to client")
