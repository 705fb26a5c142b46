"""The lines of access logs that a killed worker had not written: the master writes them (`wproxy.unwritten`)."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from master.log import open_log_file
from master.user import Identity
from wproxy.log_files import append_lines, may_take_back
from wproxy.unwritten import size_of_regions, take_lines


class Unwritten:
    """The memory of one worker's lines, for these files; shared with it by the fork."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Raises OSError."""
        self._paths = paths
        self._mapping = mmap.mmap(-1, size_of_regions(max(1, len(paths))))
        self.memory = memoryview(self._mapping)

    def write_out(self, owner: Identity | None) -> int:
        """Append the remaining lines to their files; return the bytes. Raises OSError for the first failure, after trying all
        files.
        """
        total = 0
        failure: OSError | None = None
        for index, path in enumerate(self._paths):
            lines = take_lines(self.memory, index)
            if not lines:
                continue
            try:
                fileno = open_log_file(path, owner)
                try:
                    total += append_lines(fileno, lines, may_take_back(fileno))
                finally:
                    os.close(fileno)
            except OSError as error:
                error.filename = path
                failure = failure or error
        if failure is not None:
            raise failure
        return total

    def close(self) -> None:
        """Release the memory; closing twice is allowed."""
        self.memory.release()
        self._mapping.close()

    def __repr__(self) -> str:
        return f"<unwritten lines of {len(self._paths)} files>"
