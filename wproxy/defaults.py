"""The paths that a configuration gets which does not set them, where they are not the registry's: those that go with the name
nginx, and the log of `-e` (nginx: `--pid-path` and its like in auto/options, `-e` in src/core/nginx.c).
"""

from __future__ import annotations

from wproxy.config.model import Configuration
from wproxy.directives.log import AccessLog
from wproxy.identity import Identity


def apply_defaults(configuration: Configuration, identity: Identity, error_log: str | None = None) -> Configuration:
    """Set what the configuration leaves open; returns it.

    error_log: the argument of `-e`, None without. What was written in the configuration, or in `-g`, is left alone.
    """
    configuration.identity = identity
    log = identity.error_log if error_log is None else error_log
    if log and configuration.origin("error_log") == "default":
        configuration.error_log = ((log, "error"),)
    if identity.pid and configuration.origin("pid") == "default":
        configuration.pid = identity.pid
    if identity.pid and configuration.origin("api_socket") == "default":
        configuration.control = None  # nobody who starts an nginx expects a socket beside its files
    if identity.access_log:
        default = (AccessLog(identity.access_log),)
        for server in configuration.servers:
            for location in server.each_location():
                if location.origin("access_log") == "default":
                    location.access_log = default
    return configuration
