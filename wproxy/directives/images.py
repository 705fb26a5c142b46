"""The arguments of the image filter (nginx: ngx_http_image_filter_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.template import Template, compile_template


class ImageFilter(NamedTuple):
    """An `image_filter`: the operation and its sizes; None for a size that follows from the other."""

    kind: str
    values: tuple[int | Template | None, ...] = ()


def _size(value: str) -> int | Template | None:
    if value == "-":
        return None
    return _positive(value, "parameter")


def _positive(value: str, what: str) -> int | Template:
    if "$" in value:
        return compile_template(value)
    if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value)):
        raise ValueError(f'invalid {what} "{value}"')
    return int(value)


def image_filter(kind: str, *values: str) -> ImageFilter:
    """Read `off`, `test`, `size`, `rotate 90|180|270`, `resize WIDTH HEIGHT` or `crop WIDTH HEIGHT`."""
    if kind in ("off", "test", "size") and not values:
        return ImageFilter(kind)
    if kind == "rotate" and len(values) == 1:
        if "$" not in values[0] and values[0] not in ("90", "180", "270"):
            raise ValueError(f'invalid parameter "{values[0]}"')
        return ImageFilter(kind, (_positive(values[0], "parameter"),))
    if kind in ("resize", "crop") and len(values) == 2:
        return ImageFilter(kind, tuple(map(_size, values)))
    raise ValueError(f'invalid parameter "{kind}"')


def quality(value: str) -> int | Template:
    """Return a number from 1, or a template of one."""
    return _positive(value, "value")


def sharpness(value: str) -> int | Template:
    """Return a number, or a template of one; as in nginx anything else is 0."""
    if "$" in value:
        return compile_template(value)
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
