"""The one right of root that workers may keep: to bind connections to addresses that are not the machine's own.

`proxy_bind ... transparent` needs CAP_NET_RAW, and setuid takes all capabilities away. So they are kept across it and then cut
down to this one (nginx: ngx_worker_process_init in src/os/unix/ngx_process_cycle.c).
"""

from __future__ import annotations

import ctypes
import os

_PR_SET_KEEPCAPS = 8
_CAP_NET_RAW = 13
# struct __user_cap_header_struct and two of __user_cap_data_struct, for 64 capabilities (linux/capability.h).
_VERSION_3 = 0x20080522
_Header = ctypes.c_uint32 * 2
_Data = ctypes.c_uint32 * 6

_libc = ctypes.CDLL(None, use_errno=True)


def keep_across_setuid(is_kept: bool) -> None:
    """Let the next setuid leave us what capabilities we may have, or not. Raises OSError."""
    _check(_libc.prctl(_PR_SET_KEEPCAPS, int(is_kept), 0, 0, 0))


def keep_raw_sockets_only() -> None:
    """Give up every capability but CAP_NET_RAW, which takes effect. Raises OSError."""
    mask = 1 << _CAP_NET_RAW
    _check(_libc.capset(_Header(_VERSION_3, 0), _Data(mask, mask, 0, 0, 0, 0)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
