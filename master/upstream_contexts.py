"""The contexts for encrypted connections to upstreams: made by the master, which may read the keys, for all of its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wproxy.config.model import Configuration
from wproxy.config.tree import Problem
from wproxy.upstream_tls import CannotSecure, UpstreamTls, make_context, needed_contexts

if TYPE_CHECKING:
    import ssl


def upstream_contexts(configuration: Configuration) -> tuple[dict[UpstreamTls, ssl.SSLContext], list[Problem]]:
    """Return the contexts that a configuration needs, one for all locations of equal settings, and the problems of others."""
    contexts: dict[UpstreamTls, ssl.SSLContext] = {}
    problems: list[Problem] = []
    for tls, position in needed_contexts(configuration):
        if tls not in contexts:
            try:
                contexts[tls] = make_context(tls)
            except CannotSecure as error:
                problems.append(Problem(str(error), position))
    return contexts, problems
