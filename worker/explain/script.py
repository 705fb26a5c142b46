"""The file that a FastCGI request names as its script, as far as this machine can tell: PHP-FPM may be on another one."""

from __future__ import annotations

import os
import pwd
import stat


def state_of_script(path: str) -> str:
    """Return whether the file of SCRIPT_FILENAME is there, and who may read it."""
    if not path.startswith("/"):
        return 'is no absolute path: PHP-FPM answers 404 with "Primary script unknown"' if path else "is empty"
    try:
        found = os.stat(path)
    except PermissionError:
        return "cannot be looked for: a directory above it is closed to us"
    except (OSError, ValueError):
        return f"is not there{_what_else(path)}"
    if stat.S_ISDIR(found.st_mode):
        return "is a directory: set fastcgi_index, or let try_files find the script"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_mode & stat.S_IROTH and _is_open_to_all(path):
        return "is there, and everybody may read it"
    owner = _name_of(found.st_uid)
    return (
        f"is there, but not everybody may read it (mode {stat.S_IMODE(found.st_mode):04o}, owner {owner}): PHP-FPM's user has to"
    )


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _is_open_to_all(path: str) -> bool:
    """Whether everybody may enter all directories above a file."""
    directory = os.path.dirname(path)
    while True:
        try:
            if not os.stat(directory).st_mode & stat.S_IXOTH:
                return False
        except OSError:
            return False
        if directory == os.path.dirname(directory):
            return True
        directory = os.path.dirname(directory)


def _what_else(path: str) -> str:
    """Return a warning when a part of the path is a file: PHP may run that."""
    part = os.path.dirname(path)
    while part not in ("", "/"):
        try:
            if os.path.isfile(part):
                return f", but {part} is a file: PHP runs that instead unless cgi.fix_pathinfo is 0"
        except ValueError:
            return ""
        part = os.path.dirname(part)
    return ""
