"""Default paths that do not come from the registry: those that go with the name nginx, and the log of `-e`
(nginx: `--pid-path` and its like in auto/options, `-e` in src/core/nginx.c).
"""

from __future__ import annotations

from wproxy.config.model import Configuration
from wproxy.directives.log import AccessLog
from wproxy.identity import Identity


def apply_defaults(configuration: Configuration, identity: Identity, error_log: str | None = None) -> Configuration:
    """Set the paths that the configuration leaves open; return it.

    error_log: the argument of `-e`, or None. What the configuration or `-g` sets is left alone.
    """
    configuration.identity = identity
    log = identity.error_log if error_log is None else error_log
    if log and configuration.origin("error_log") == "default":
        configuration.error_log = ((log, "error"),)
    if identity.pid and configuration.origin("pid") == "default":
        configuration.pid = identity.pid
    if identity.pid and configuration.origin("api_socket") == "default":
        configuration.control = None  # a user who starts nginx does not expect a socket beside its files
    if identity.access_log:
        default = (AccessLog(identity.access_log),)
        for server in configuration.servers:
            for location in server.each_location():
                if location.origin("access_log") == "default":
                    location.access_log = default
    return configuration
