"""Names of sets of bytes: POSIX classes and the shorthands of PCRE2, in the C locale."""

from __future__ import annotations

from wproxy.regex.nodes import ALL, ALPHA, DIGIT, HORIZONTAL, LOWER, NEWLINE, SPACE, UPPER, VERTICAL, WORD, byte_range, byte_set

POSIX = {
    "alpha": ALPHA,
    "lower": LOWER,
    "upper": UPPER,
    "alnum": ALPHA | DIGIT,
    "ascii": byte_range(0, 127),
    "blank": byte_set(b"\t "),
    "cntrl": byte_range(0, 31) | 1 << 127,
    "digit": DIGIT,
    "graph": byte_range(33, 126),
    "print": byte_range(32, 126),
    "punct": byte_range(33, 126) & ~(ALPHA | DIGIT),
    "space": SPACE,
    "word": WORD,
    "xdigit": DIGIT | byte_set(b"abcdefABCDEF"),
}

SHORTHANDS = {
    "d": DIGIT,
    "D": ALL & ~DIGIT,
    "w": WORD,
    "W": ALL & ~WORD,
    "s": SPACE,
    "S": ALL & ~SPACE,
    "h": HORIZONTAL,
    "H": ALL & ~HORIZONTAL,
    "v": VERTICAL,
    "V": ALL & ~VERTICAL,
    "N": ALL & ~NEWLINE,
}

# Letters after a backslash that stand for one byte.
CONTROLS = {"a": 7, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9}
