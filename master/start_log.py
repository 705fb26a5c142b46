"""The messages of a start, a test or a command before the log of a configuration is open.

As in nginx they go to two places: to standard error as `nginx: [emerg] TEXT`, for the user, and to the log of `-e` with date and
pid, for later. They are written only once, with date and pid, when that log is standard error (nginx: ngx_log_error_core,
ngx_log_init).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable

from wproxy.error_log import RANKS, ErrorLog
from wproxy.identity import WPROXY, Identity
from wproxy.log_files import open_for_appending
from wproxy.safe_open import ANYBODY

STDERR = "stderr"


class StartLog:
    """Reports under the name of an identity. `path`: that of its file, "stderr", or "" for none."""

    def __init__(self, identity: Identity = WPROXY, path: str = "") -> None:
        """path: the file, created when missing; "stderr"; "" for none. One that cannot be opened is reported, and stderr used."""
        self.identity = identity
        self.path = path
        try:
            self._log = self._open(path)
        except OSError as error:
            self.path = STDERR
            self._log = self._open(STDERR)
            self.say(f'[alert] could not open error log file: open() "{path}" failed ({error.errno}: {error.strerror})')

    def _open(self, path: str) -> ErrorLog:
        # The user of the workers is not known yet, and one of them may have been broken into the last time.
        return ErrorLog([(path, "notice")] if path else [], time.time, lambda path: open_for_appending(path, ANYBODY))

    def tell(self, level: str, text: str) -> None:
        """Report a message of that level, each of its lines separately; below `warn` it goes only into the file."""
        for line in text.splitlines():
            self._log.write(level, line)
            if self.path != STDERR and RANKS[level] <= RANKS["warn"]:
                self.say(f"[{level}] {line}")

    def tell_all(self, level: str, texts: Iterable[object]) -> None:
        """Report each of these as a message."""
        for text in texts:
            self.tell(level, str(text))

    def say(self, text: str) -> None:
        """Print a line on standard error only, with our name before it."""
        try:
            sys.stderr.write(f"{self.identity.name}: {text}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed: no one is left to tell
            pass

    def is_among(self, places: Collection[object]) -> bool:
        """Whether our messages go into one of these logs, so that they need not be written there a second time."""
        return (self.path or STDERR) in places

    def close(self) -> None:
        """Close the file; later messages go to standard error only."""
        self._log.close()

    def __repr__(self) -> str:
        return f"<start log of {self.identity.name} to {self.path or 'stderr alone'}>"
