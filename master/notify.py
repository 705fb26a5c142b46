"""Notifications to a service manager: sd_notify(3), by hand.

One datagram of NAME=VALUE lines to the unix socket that NOTIFY_SOCKET names. Nothing here may stop us: a manager that does not
listen is not notified.

    READY=1                    the first generation serves, or a reload is over, however it ended
    RELOADING=1                with MONOTONIC_USEC: a reload has begun (Type=notify-reload wants the time)
    STOPPING=1                 we were told to leave
    MAINPID=N                  the pid of the master now: sent by the old master when it leaves to a new one, because with
                               NotifyAccess=main only the main process is heard, and by the new one when it is alone
    STATUS=text                for `systemctl status`
"""

from __future__ import annotations

import socket
import time


class Notifier:
    """Notifies the service manager on that socket; path: "" when there is none, `@name` for an abstract one."""

    def __init__(self, path: str) -> None:
        self._address = "\0" + path[1:] if path.startswith("@") else path

    @property
    def has_listener(self) -> bool:
        """Whether there is a manager to notify."""
        return bool(self._address)

    def ready(self, pid: int, status: str) -> None:
        """Report that the process serves, and is the one to watch."""
        self._send(f"READY=1\nMAINPID={pid}\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that a reload has begun."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}\nSTATUS=reloading")

    def stopping(self, status: str) -> None:
        """Report that the service ends."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def hand_over(self, pid: int) -> None:
        """Report that another process is the master from now on."""
        self._send(f"MAINPID={pid}\nSTATUS=handed over to process {pid}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.setblocking(False)  # a manager that does not read must not delay us
            try:
                one.sendto(text.encode("utf-8", "replace"), self._address)
            except OSError:
                pass

    def __repr__(self) -> str:
        return f"<notifier {self._address!r}>"
