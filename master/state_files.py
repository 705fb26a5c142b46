"""The directories of `state FILE`, the servers of upstreams: they must exist before the workers write, as themselves."""

from __future__ import annotations

import os

from master.user import Identity, distrusted
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.safe_open import make_directory


def provide_state_directories(configuration: Configuration, owner: Identity | None) -> None:
    """Make the missing directories of state files, and give them to the workers; raises ConfigurationError.

    An existing one is left as it is: it may be anyone's. If the workers may not write in it, the API says so.
    """
    for upstream in configuration.upstreams:
        if not upstream.state:
            continue
        directory = os.path.dirname(configuration.path(upstream.state))
        if os.path.isdir(directory):
            continue
        try:
            make_directory(directory, distrusted(owner), (owner.uid, owner.gid) if owner else None)
        except OSError as error:
            text = f'mkdir() "{directory}" failed ({error.errno}: {error.strerror})'
            raise ConfigurationError(Problem(text, upstream.position)) from None
