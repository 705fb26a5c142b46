"""Real PCRE2, called through ctypes: what nginx itself would say. It is there wherever nginx is (tests/install_peers.sh)."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

CASELESS = 8
MATCH_LIMIT = -47


class Refusal(NamedTuple):
    """An error of pcre2_compile: its number, words and offset."""

    number: int
    reason: str
    offset: int


def load() -> Any:
    """The library, or None where there is none."""
    try:
        library = ctypes.CDLL("libpcre2-8.so.0")
    except OSError:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    library.pcre2_compile_8.restype = pointer
    library.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, pointer, pointer, pointer]
    library.pcre2_match_8.argtypes = [pointer, ctypes.c_char_p, size, size, ctypes.c_uint32, pointer, pointer]
    library.pcre2_match_data_create_from_pattern_8.restype = pointer
    library.pcre2_match_data_create_from_pattern_8.argtypes = [pointer, pointer]
    library.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(size)
    library.pcre2_get_ovector_pointer_8.argtypes = [pointer]
    library.pcre2_get_ovector_count_8.argtypes = [pointer]
    library.pcre2_match_data_free_8.argtypes = [pointer]
    library.pcre2_code_free_8.argtypes = [pointer]
    return library


LIBRARY = load()


def version() -> tuple[int, int]:
    """The version of the library, (0, 0) without one."""
    if LIBRARY is None:
        return 0, 0
    text = ctypes.create_string_buffer(64)
    LIBRARY.pcre2_config_8(11, text)  # PCRE2_CONFIG_VERSION
    major, minor = text.value.split()[0].split(b".")[:2]
    return int(major), int(minor.partition(b"-")[0])


# Since 10.43 `a{,2}` is a repetition, a look-behind may have any length that is limited, case counts
# otherwise in properties, and some errors are worded anew.
IS_LATER = version() >= (10, 43)


def compile_error(pattern: bytes, caseless: bool = False) -> Refusal | None:
    """Why PCRE2 refuses a pattern; None when it takes it."""
    code, refusal = _compile(pattern, caseless)
    LIBRARY.pcre2_code_free_8(code)
    return refusal


def spans(pattern: bytes, subject: bytes, caseless: bool = False) -> list[tuple[int, int]] | None:
    """Spans of the match and of each group, (-1, -1) for one that took no part; None without a match."""
    code, refusal = _compile(pattern, caseless)
    assert refusal is None
    data = LIBRARY.pcre2_match_data_create_from_pattern_8(code, None)
    try:
        found = LIBRARY.pcre2_match_8(code, subject, len(subject), 0, 0, data, None)
        if found == MATCH_LIMIT:
            raise TimeoutError
        if found < 0:
            return None
        vector = LIBRARY.pcre2_get_ovector_pointer_8(data)
        count = LIBRARY.pcre2_get_ovector_count_8(data)
        pairs = [(vector[2 * n], vector[2 * n + 1]) for n in range(count)]
        unset = ctypes.c_size_t(-1).value
        return [(-1, -1) if unset in pair else pair for pair in pairs]
    finally:
        LIBRARY.pcre2_match_data_free_8(data)
        LIBRARY.pcre2_code_free_8(code)


def _compile(pattern: bytes, caseless: bool) -> tuple[Any, Refusal | None]:
    error, offset = ctypes.c_int(), ctypes.c_size_t()
    options = CASELESS if caseless else 0
    code = LIBRARY.pcre2_compile_8(pattern, len(pattern), options, ctypes.byref(error), ctypes.byref(offset), None)
    if code:
        return code, None
    words = ctypes.create_string_buffer(256)
    LIBRARY.pcre2_get_error_message_8(error, words, 256)
    return None, Refusal(error.value, words.value.decode(), offset.value)
