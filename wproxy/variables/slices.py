"""The variable of `slice`: the part of a response that is asked for next."""

from __future__ import annotations

from wproxy.http import Request
from wproxy.slices import Slices, first_byte
from wproxy.variables.registry import REQUEST, variable


@variable("slice_range", REQUEST)
def slice_range(request: Request) -> bytes | None:
    """Return the value of a Range; its first use before there is a response begins the slices, in a client's request."""
    slices = request.slices
    if slices is None:
        size = request.location.slice
        if not size or request.main is not None or request.status:
            return None
        slices = request.slices = Slices(size, first_byte(request.fields))
    return slices.wanted
