"""The contexts for encrypted connections to upstreams: made by the master, which may read the keys, for all of its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wproxy.config.model import Configuration
from wproxy.config.tree import Problem
from wproxy.upstream_tls import UpstreamTls, needed_contexts

if TYPE_CHECKING:
    from wproxy.tls.upstreams import UpstreamContext


def upstream_contexts(configuration: Configuration) -> tuple[dict[UpstreamTls, UpstreamContext], list[Problem]]:
    """Return the contexts that a configuration needs, one for all locations of equal settings, and the problems of others."""
    contexts: dict[UpstreamTls, UpstreamContext] = {}
    problems: list[Problem] = []
    for tls, position in needed_contexts(configuration):
        if tls not in contexts:
            from wproxy.tls.upstreams import CannotSecure, UpstreamContext  # 15 ms, needed only for TLS

            try:
                contexts[tls] = UpstreamContext(tls)
            except CannotSecure as error:
                problems.append(Problem(str(error), position))
    return contexts, problems
