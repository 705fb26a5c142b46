"""The limits for reading an upstream's answer ahead of its client, computed at load: proxy_buffering and related directives."""

from __future__ import annotations

from dataclasses import dataclass

from worker.upstream.module_settings import ModuleSettings
from wproxy.http import AnswerHead
from wproxy.template import Template


@dataclass(frozen=True, slots=True)
class Buffering:
    """The buffering of answers in one location.

    is_on: whether answers are read ahead. heeds_upstream: whether X-Accel-Buffering may override that. rate: bytes per second
    that are read, 0 for no limit. memory, file: the most bytes that wait in either. write_size: bytes written to the file at
    once, 0 for our own choice. at_once: how many bytes may be read together with the head, beyond those that came with it.
    """

    is_on: bool
    heeds_upstream: bool
    rate: int | Template
    memory: int
    file: int
    write_size: int
    at_once: int = 0

    def applies(self, head: AnswerHead) -> bool:
        """Whether the answer with this head may be read ahead of its client."""
        asked = head.values.get(b"x-accel-buffering") if self.heeds_upstream else None
        return self.is_on if asked is None else {b"yes": True, b"no": False}.get(asked.lower(), self.is_on)


def buffering_of(settings: ModuleSettings) -> Buffering:
    """Compute the buffering of a location."""
    count, each = settings.get("buffers", (8, 4096))
    is_on, rate = settings.get("buffering", True), settings.get("limit_rate", 0)
    return Buffering(
        is_on,
        "x-accel-buffering" not in (settings.get("ignore_headers") or ()),
        rate,
        count * each,
        settings.get("max_temp_file_size", 0),
        settings.get("temp_file_write_size") or 0,
        count * each if is_on and rate == 0 else 0,
    )
