"""The files of the cache, as nginx writes them since 1.11.10 (version 5 of ngx_http_file_cache_header_t).

    header    336 bytes: a struct of C on a 64-bit machine, with the byte order of that machine
    key       a line "KEY: " with the text of the key, after a line feed
    head      the head of the response, as the upstream sent it; from `header_start`
    body      from `body_start` to the end of the file

A file of nginx does not say how long its body should be, so nginx serves one that was cut short. The struct ends with four bytes
of padding, which nginx writes as zero and never looks at. Ours has a checksum there: of the places, of the head and of the length
of the file. The times and the entity tag are not part of it, because they are changed in place when a response is revalidated,
while others may read them. A file without a checksum has to agree with the Content-Length in its head.
"""

from __future__ import annotations

import re
from binascii import crc32
from dataclasses import dataclass
from struct import Struct

from wproxy.cache.key import CacheKey

VERSION = 5
LONGEST_ETAG = LONGEST_VARY = 128
_FIELDS = Struct("=Q5qIHHHB128sB128s16sI")
HEADER_SIZE = _FIELDS.size
_CHECKSUM_AT = HEADER_SIZE - 4
_KEY = b"\nKEY: "
NO_VARIANT = bytes(16)
# Places and sizes are 16-bit numbers.
LARGEST_PLACE = 0xFFFF
_LENGTH = re.compile(rb"\r?\nContent-Length:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_NO_TIME = -1


class BadFile(Exception):
    """A file is not the stored response that it should be."""


@dataclass(slots=True)
class Header:
    """The header of a file.

    valid_sec, valid_msec: unix time until which the response is fresh. updating_sec, error_sec: for how many seconds longer it
    may be served while it is updated, and after an error. last_modified: -1 without one. date: the time of the response.
    variant: the digest of the variant; zeros if the response does not vary. header_start, body_start: places in the file, set by
    whoever writes it. checksum: see above; 0: there is none.
    """

    valid_sec: int = 0
    valid_msec: int = 0
    updating_sec: int = 0
    error_sec: int = 0
    last_modified: int = _NO_TIME
    date: int = 0
    etag: bytes = b""
    vary: bytes = b""
    variant: bytes = NO_VARIANT
    crc32: int = 0
    header_start: int = 0
    body_start: int = 0
    checksum: int = 0

    @property
    def valid(self) -> float:
        """The unix time until which the response is fresh."""
        return self.valid_sec + self.valid_msec / 1000


def place(header: Header, key: CacheKey, head_size: int) -> None:
    """Set the places of a header for a head of this size. Raises BadFile for one that is too large."""
    header.crc32 = key.crc32
    header.header_start = HEADER_SIZE + len(_KEY) + len(key.text) + 1
    header.body_start = header.header_start + head_size
    if header.body_start > LARGEST_PLACE:
        raise BadFile("has too long header")


def header_bytes(header: Header, key: CacheKey) -> bytes:
    """Return the beginning of a file, up to the head."""
    return b"".join((struct_bytes(header), _KEY, key.text, b"\n"))


def struct_bytes(header: Header) -> bytes:
    """Return the struct of a header."""
    etag = header.etag if len(header.etag) <= LONGEST_ETAG else b""
    vary = header.vary[:LONGEST_VARY]
    return _FIELDS.pack(
        VERSION,
        header.valid_sec,
        header.updating_sec,
        header.error_sec,
        header.last_modified,
        header.date,
        header.crc32,
        header.valid_msec,
        header.header_start,
        header.body_start,
        len(etag),
        etag,
        len(vary),
        vary,
        header.variant,
        header.checksum,
    )


def read_header(data: bytes) -> Header:
    """Read the struct at the beginning of a file. Raises BadFile."""
    if len(data) < HEADER_SIZE:
        raise BadFile("is too small")
    found = _FIELDS.unpack_from(data)
    version, valid, updating, error, modified, date, crc, msec, header_start, body_start = found[:10]
    etag_size, etag, vary_size, vary, variant, checksum = found[10:]
    if version != VERSION:
        raise BadFile("has version mismatch")
    if etag_size > LONGEST_ETAG:
        raise BadFile("has incorrect etag length")
    if vary_size > LONGEST_VARY:
        raise BadFile("has incorrect vary length")
    if not HEADER_SIZE + len(_KEY) < header_start <= body_start:
        raise BadFile("has incorrect places")
    return Header(
        valid, msec, updating, error, modified, date, etag[:etag_size], vary[:vary_size], variant, crc, header_start, body_start,
        checksum,
    )  # fmt: skip


def key_text(header: Header, data: bytes) -> bytes:
    """Return the text of the key in a file. Raises BadFile."""
    begin = HEADER_SIZE + len(_KEY)
    end = header.header_start - 1
    if data[HEADER_SIZE:begin] != _KEY or data[end : end + 1] != b"\n":
        raise BadFile("has no key")
    return data[begin:end]


def check(header: Header, key: CacheKey, data: bytes, length: int) -> None:
    """Find out whether a file is the whole stored response of a key. Raises BadFile.

    data: its beginning, at least as far as the body. length: its size in bytes.
    """
    if length < header.body_start or len(data) < header.body_start:
        raise BadFile("is too small")
    if header.crc32 != key.crc32 or key_text(header, data) != key.text:
        raise BadFile("has md5 collision")
    if header.checksum:
        if checksum(data, header.body_start, length) != header.checksum:
            raise BadFile("is damaged")
        return
    said = _LENGTH.search(data, header.header_start, header.body_start)
    if said is not None and int(said[1]) != length - header.body_start:
        raise BadFile("is not as long as its Content-Length")


def checksum(data: bytes, body_start: int, length: int) -> int:
    """Return the checksum of a file of this length. data: its beginning, at least as far as the body; never 0."""
    places = data[48:52] + data[54:58] + data[187:_CHECKSUM_AT] + length.to_bytes(8, "little")
    return crc32(data[HEADER_SIZE:body_start], crc32(places)) or 1


def with_checksum(data: bytes, body_start: int, length: int) -> tuple[int, bytes]:
    """Return the place of the checksum in a file, and its bytes there."""
    return _CHECKSUM_AT, checksum(data, body_start, length).to_bytes(4, "little")
