"""The settings of a location for one upstream module, by the words that all such modules share.

nginx has proxy_read_timeout, fastcgi_read_timeout, grpc_read_timeout and so on, with one meaning. The maker of a Passing asks for
"read_timeout", so it serves all of them.
"""

from __future__ import annotations

from typing import Any

from worker.upstream.tls.plan import SecurePlan
from wproxy.config.model import Location

HTTP2 = 20
"""The value of proxy_http_version that stands for HTTP/2."""


class ModuleSettings:
    """The settings of a location in the directives that begin with the name of one module.

    secure_plan: how connections are encrypted; None where they are not, and before a Passing is made.
    """

    __slots__ = ("location", "module", "secure_plan")

    def __init__(self, location: Location, module: str) -> None:
        self.location = location
        self.module = module
        self.secure_plan: SecurePlan | None = None

    def get(self, word: str, otherwise: Any = None) -> Any:
        """Return the value of `module_word`; `otherwise` if the module has no such directive."""
        return getattr(self.location, f"{self.module}_{word}", otherwise)

    @property
    def max_streams(self) -> int:
        """Return how many requests may share a connection; 0 where the protocol has one after the other, and no streams."""
        if self.module == "grpc" or self.get("http_version") == HTTP2:
            streams: int = self.get("max_streams", 1)
            return streams
        return 0

    @property
    def has_cache(self) -> bool:
        """Return whether answers are stored."""
        cache = self.get("cache")
        return cache is not None and (cache.zone is not None or cache.template is not None)

    def described(self, word: str) -> str:
        """Return ` (proxy_read_timeout 60: FILE:LINE:COLUMN)`, for messages that blame a setting; "" for no word."""
        return self.location.described(f"{self.module}_{word}") if word else ""

    def __repr__(self) -> str:
        return f"<{self.module}_ settings of {self.location}>"
