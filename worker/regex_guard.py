"""The guard that ends a regex match when its time is over (wproxy/regex): a pathological regex or value must not stall a worker.

Python's matcher checks for signals every 4096 steps, so an interval timer whose handler raises ends it. The timer counts the CPU
time of the process in user mode (ITIMER_VIRTUAL, SIGVTALRM): a worker that waits for a busy machine does not blame the regex;
setting and clearing it costs 0.8 us where ITIMER_REAL costs 1.3; and SIGALRM and SIGPROF stay free for others. It runs during a
watched match only, and most matches are not watched (wproxy/regex/safety.py).

Rule 1. Nothing is raised outside of a match. The interpreter may see the signal when the match is already over, so the handler
checks whether one is running.

Rule 2. Other signals work as usual: their handlers run inside the match, their bytes reach the descriptor of
signal.set_wakeup_fd. So does ours, occasionally: the loop of the worker ignores numbers that it does not know.

Only the main thread is interrupted, and it is the only one that matches.
"""

from __future__ import annotations

import re
import signal
from types import FrameType

from wproxy.regex import Regex, RegexTimedOut, Search, install_guard

LIMIT = 0.1  # seconds of CPU time

_matching = False


class _Expired(BaseException):
    """Raised by the handler; a BaseException, so that no code between the matcher and us takes it for an error of its own."""


def install_regex_guard() -> None:
    """Guard all regexes of this process; to be called in the main thread, once. Costs 1.2 us per watched match."""
    signal.signal(signal.SIGVTALRM, _expire)
    install_guard(guarded_search)


def guarded_search(regex: Regex, search: Search, value: bytes) -> re.Match[bytes] | None:
    """Return the result of search(value); raises RegexTimedOut when it takes more than LIMIT."""
    global _matching
    try:
        _matching = True
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
        try:
            return search(value)
        finally:
            _matching = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _Expired:
        # It may have been raised before the timer was cleared; the timer has run out then, and does not restart.
        raise RegexTimedOut(regex, value, LIMIT) from None


def _expire(number: int, frame: FrameType | None) -> None:
    global _matching
    if _matching:
        _matching = False
        raise _Expired
