"""What differs from run to run, or by the name of the server, and has to be taken away before two answers are compared."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

_EVERYWHERE: Mapping[str, str] = {
    r"\w{3}, \d\d[ -]\w{3}[ -]\d{4} \d\d:\d\d:\d\d GMT": "DATE",
    r"(?<=<hr><center>)(?:nginx|wproxy)[^<]*": "SERVER",
}


def masked(value: Any, port: int, more: Mapping[str, str] = {}) -> Any:
    """The value, whatever it is made of, with dates and the port replaced, and what matches the patterns in `more`."""
    patterns = {re.escape(str(port)): "PORT", **_EVERYWHERE, **more}
    text = [(re.compile(pattern), word) for pattern, word in patterns.items()]
    data = [(re.compile(pattern.encode()), word.encode()) for pattern, word in patterns.items()]

    def mask(value: Any) -> Any:
        if isinstance(value, str):
            for pattern, word in text:
                value = pattern.sub(word, value)
            return value
        if isinstance(value, bytes):
            for raw, letters in data:
                value = raw.sub(letters, value)
            return value
        if isinstance(value, Mapping):
            return {key: mask(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [mask(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: mask(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **fields)
        return value

    return mask(value)
