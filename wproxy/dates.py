"""Reading of dates in HTTP header fields (RFC 9110, 5.6.7; nginx: src/core/ngx_parse_time.c). `http_date` writes them."""

from __future__ import annotations

import calendar
import re

_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}

# IMF-fixdate:  Sun, 06 Nov 1994 08:49:37 GMT
# RFC 850:      Sunday, 06-Nov-94 08:49:37 GMT
# asctime:      Sun Nov  6 08:49:37 1994
# Like nginx we ignore the name of the day and the zone, which can only be GMT.
_FIXDATE = re.compile(rb"[^,]*+,[ ]*+([0-9]{2})([ -])([A-Z][a-z]{2})\2([0-9]{4}|[0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})").match
_ASCTIME = re.compile(rb"[^, ]++ ([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})").match


def parse_http_date(value: bytes) -> int | None:
    """Return the unix seconds of a date in any of the three forms, or None when it is not a date."""
    match = _FIXDATE(value)
    if match is not None:
        day, _, month, year, hour, minute, second = match.groups()
    else:
        match = _ASCTIME(value)
        if match is None:
            return None
        month, day, hour, minute, second, year = match.groups()
    number = int(year)
    if len(year) == 2:
        number += 2000 if number < 70 else 1900
    return _seconds(number, _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second))


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    if not month or hour > 23 or minute > 59 or second > 59 or year < 1970:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second))
