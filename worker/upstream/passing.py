"""How a location passes requests to its upstream, worked out at load (nginx: ngx_http_upstream_conf_t, `u->conf`).

What an exchange reads of `proxy_*` at each request is here under the name that all upstream protocols will share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.upstream.answers import AnswerPlan
from worker.upstream.manner import Manner, constant_manner
from worker.upstream.outgoing import Reshape
from worker.upstream.peers import Group
from worker.upstream.protocols import UpstreamProtocol, WriteHead
from worker.upstream.protocols.http import HTTP1, HeadPlan
from worker.upstream.reshaping import head_writer, reshaping
from wproxy.config.model import Location
from wproxy.directives.temporary_path import TemporaryPath


@dataclass(slots=True)
class Passing:
    """The upstream's side of one location.

    manner: how it opens connections; None: each request has its own. head: writes the heads of requests; head_plan: what it adds
    to each. answer_plan: what it makes of the fields of answers. reshape: makes the body for the upstream; None where it is the
    client's own. noticed_statuses: those of answers that proxy_next_upstream asks to retry, or that an error page of ours
    replaces. temp_path: proxy_temp_path, absolute.
    """

    location: Location
    group: Group
    manner: Manner | None
    protocol: UpstreamProtocol
    head: WriteHead
    head_plan: HeadPlan
    answer_plan: AnswerPlan
    reshape: Reshape | None
    noticed_statuses: frozenset[int]
    connect_timeout: float
    send_timeout: float
    read_timeout: float
    buffer_size: int
    temp_path: TemporaryPath | None

    def __repr__(self) -> str:
        return f"<passing to {self.group.name}>"


def make_passing(location: Location, group: Group, answer_plan: AnswerPlan, absolute: Callable[[str], str]) -> Passing:
    """Work out how a location passes requests to a group. absolute: makes paths of the configuration absolute."""
    noticed = frozenset(int(word[5:]) for word in location.proxy_next_upstream if word[:5] == "http_")
    if location.proxy_intercept_errors:
        noticed |= {status for line in location.error_page for status in line.statuses}
    head_plan = HeadPlan(location)
    place = location.proxy_temp_path
    return Passing(
        location,
        group,
        constant_manner(location, group.is_local),
        HTTP1,
        head_writer(location, head_plan),
        head_plan,
        answer_plan,
        reshaping(location),
        noticed,
        location.proxy_connect_timeout,
        location.proxy_send_timeout,
        location.proxy_read_timeout,
        location.proxy_buffer_size,
        None if place is None else place.below(absolute),
    )
