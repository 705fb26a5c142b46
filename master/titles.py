"""The title of a process, for ps and top."""

from __future__ import annotations

import setproctitle


def name_process(name: str, title: str) -> None:
    """Show a process as `name: title`, and its thread as the name alone, as nginx's are.

    A thread's name is in /proc/PID/stat, whose readers split it at spaces: since 3.14 os.fork counts threads there, and warned of
    threads that do not exist. `pgrep -x` and killall find it, too.
    """
    setproctitle.setproctitle(f"{name}: {title}")
    setproctitle.setthreadtitle(name)
