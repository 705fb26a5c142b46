"""DER, the encoding of certificates (ITU-T X.690): reading of what certificates are made of, and no more.

Certificates are read by our own code because Python's ssl decodes one only after a handshake, and then only parts of it.
"""

from __future__ import annotations

import calendar
from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER = 1, 2, 3, 4, 6
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31

# The encodings of text; what is not here is shown as latin-1.
_ENCODINGS = {0x0C: "utf-8", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}


class Element(NamedTuple):
    """One element. tag: its first byte. content: without the header; encoded: with it."""

    tag: int
    content: bytes
    encoded: bytes


def elements(data: bytes) -> list[Element]:
    """Return the elements that follow one another in these bytes. Raises ValueError."""
    found = []
    place = 0
    while place < len(data):
        tag = data[place]
        if tag & 0x1F == 0x1F or place + 2 > len(data):
            raise ValueError("no DER")  # tags of several bytes occur in no certificate
        length, start = data[place + 1], place + 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or start + count > len(data):
                raise ValueError("no DER")
            length = int.from_bytes(data[start : start + count], "big")
            start += count
        if start + length > len(data):
            raise ValueError("truncated DER")
        found.append(Element(tag, data[start : start + length], data[place : start + length]))
        place = start + length
    return found


def inside(element: Element, tag: int = SEQUENCE) -> list[Element]:
    """Return the elements in one of this tag. Raises ValueError for another tag."""
    if element.tag != tag:
        raise ValueError(f"DER tag {element.tag:#x} in place of {tag:#x}")
    return elements(element.content)


def object_identifier(element: Element) -> str:
    """Return an object identifier in dotted form. Raises ValueError."""
    content = element.content
    if element.tag != OBJECT_IDENTIFIER or not content or content[-1] & 0x80:
        raise ValueError("no object identifier")
    arcs, value = [], 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def text(element: Element) -> str:
    """Return the text of a string of any kind; bytes that are not valid in it are replaced."""
    return element.content.decode(_ENCODINGS.get(element.tag, "latin-1"), "replace")


def seconds(element: Element) -> int:
    """Return the unix seconds of a time. Raises ValueError."""
    digits = element.content.decode("ascii", "replace")
    if element.tag == UTC_TIME:
        # Years below 50 are of this century (RFC 5280, 4.1.2.5.1).
        digits = ("20" if digits[:2] < "50" else "19") + digits
    elif element.tag != GENERALIZED_TIME:
        raise ValueError("no time")
    if len(digits) != 15 or digits[14] != "Z" or not (digits[:14].isascii() and digits[:14].isdigit()):
        raise ValueError("no time")
    parts = (int(digits[:4]), *(int(digits[place : place + 2]) for place in range(4, 14, 2)))
    year, month, day, hour, minute, second = parts
    if not 1 <= month <= 12 or not year or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59:
        raise ValueError("no time")
    return calendar.timegm((year, month, day, hour, minute, second))
