"""The access of a location to files: `access_of`.

Two settings change the plain way of open_files.py: `disable_symlinks` walks paths name by name (symlinks.py), `open_file_cache`
keeps results for a while (kept_files.py).
"""

from __future__ import annotations

import os
import stat
from typing import Final

from worker.content.kept_files import KeptAccess
from worker.content.open_files import FLAGS, PLAIN, Access, OpenFile, no_such_file
from worker.content.symlinks import open_walking
from wproxy.config.model import Location
from wproxy.directives.open_file_cache import SymlinkPolicy
from wproxy.http import Request
from wproxy.template import Template

_LOOK: Final = os.O_PATH | os.O_CLOEXEC


def access_of(location: Location) -> Access:
    """Return the access of this location."""
    policy = location.disable_symlinks
    access = PLAIN if policy is None else _checked_access(policy)
    cache = location.open_file_cache
    if cache is None or (policy is not None and policy.trusted is not None and policy.trusted.constant is None):
        return access  # a variable may give another policy for the same path tomorrow
    kept = KeptAccess(location, cache, access)
    return Access(kept.open, kept.look, access.call, access.looking)


def _checked_access(policy: SymlinkPolicy) -> Access:
    """Return an access that checks symbolic links."""
    by_owner = policy.by_owner
    trusted: Template | None = policy.trusted

    def walk(request: Request, path: bytes, flags: int) -> int:
        begin = b"" if trusted is None else trusted.evaluate(request)
        try:
            return open_walking(path, begin, by_owner, flags)
        except ValueError:
            raise no_such_file() from None

    def open_file(request: Request, path: bytes) -> OpenFile:
        return OpenFile(path, walk(request, path, FLAGS))

    def look(request: Request, path: bytes) -> bool:
        fd = walk(request, path, _LOOK)
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    return Access(open_file, look, "openat", "openat")
