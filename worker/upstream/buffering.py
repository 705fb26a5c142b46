"""How much of an upstream's answer is read ahead of its client, worked out at load: proxy_buffering and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass

from worker.http1.response import ResponseHead
from worker.upstream.module_settings import ModuleSettings
from wproxy.template import Template


@dataclass(frozen=True, slots=True)
class Buffering:
    """The buffering of answers in one location.

    is_on: answers are read ahead. heeds_upstream: X-Accel-Buffering may say otherwise. rate: bytes a second that are read, 0 for
    no limit. memory, file: the most bytes that wait in either. write_size: how much is written to the file at once, 0 for our
    own choice.
    """

    is_on: bool
    heeds_upstream: bool
    rate: int | Template
    memory: int
    file: int
    write_size: int

    def applies(self, head: ResponseHead) -> bool:
        """Return whether the answer with this head may be read ahead of its client."""
        asked = head.values.get(b"x-accel-buffering") if self.heeds_upstream else None
        return self.is_on if asked is None else {b"yes": True, b"no": False}.get(asked.lower(), self.is_on)


def buffering_of(settings: ModuleSettings) -> Buffering:
    """Work out the buffering of a location."""
    count, each = settings.get("buffers", (8, 4096))
    return Buffering(
        settings.get("buffering", True),
        "x-accel-buffering" not in (settings.get("ignore_headers") or ()),
        settings.get("limit_rate", 0),
        count * each,
        settings.get("max_temp_file_size", 0),
        settings.get("temp_file_write_size", 0),
    )
