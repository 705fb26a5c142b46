"""`wproxy demo`: three small applications, wproxy in front of them, and a failover to watch.

`show` is the story, `family` the processes in it, `app` one application (`page` its front page, `websocket` its echo).
Only the standard library is used, so the demo runs wherever wproxy does.
"""

from __future__ import annotations

from master.demo.show import run_demo

__all__ = ["run_demo"]
