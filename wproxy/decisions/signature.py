"""The field X-Wproxy-Explain, by which a client asks for the decisions about its request.

    X-Wproxy-Explain: EXPIRES.SIGNATURE

EXPIRES is unix time in seconds, SIGNATURE the HMAC-SHA256 of a prefix and EXPIRES by `explain_secret`, in hexadecimal digits. A
value is good until it expires, which is a day ahead at most, so that one that leaks is soon worth nothing.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

FIELD = b"x-wproxy-explain"
LONGEST = 86400  # seconds
_PREFIX = b"wproxy explain\0"


def signed(secret: bytes, expires: int) -> bytes:
    """Return the value of the field that is good until that time."""
    moment = b"%d" % expires
    return moment + b"." + _signature(secret, moment)


def is_signed(value: bytes, secret: bytes, now: float) -> bool:
    """Whether the value of the field is good now."""
    moment, _, signature = value.partition(b".")
    # The signature comes first: without the secret, nobody learns anything from how long this takes.
    if not hmac.compare_digest(signature, _signature(secret, moment)):
        return False
    return moment.isdigit() and len(moment) < 12 and now < int(moment) <= now + LONGEST


def _signature(secret: bytes, moment: bytes) -> bytes:
    return hmac.digest(secret, _PREFIX + moment, sha256).hex().encode()
