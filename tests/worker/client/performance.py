"""A performance: a stage, and everything that is seen on it, to be compared with that of another worker."""

from __future__ import annotations

import re
from pathlib import Path

from conversation import End, Stage


class Performance:
    """A stage with the connections of its upstreams, the one that was heard last at the end, and what has been seen."""

    def __init__(self, stage: Stage, request: bytes, answer: bytes, learns: bool) -> None:
        """learns: whether the worker may learn how to repeat a request."""
        self.stage, self.request, self.answer = stage, request, answer
        self.seen: list[object] = []
        self.upstreams: list[End] = []
        if not learns:
            for location in stage.configuration.servers[0].each_location():
                location.route.learn = location.route.learn_varied = None

    @property
    def upstream(self) -> End:
        return self.upstreams[-1]

    def send_answer(self, answer: bytes | None) -> None:
        """Answer where the last request has gone, unless that connection has ended. None: the usual answer."""
        if self.upstreams and not self.upstream.over and self.upstream.is_open():
            self.upstream.send(self.answer if answer is None else answer)

    def look_at_upstreams(self) -> None:
        """Let all upstreams take what has come for them."""
        for peer in self.stage.peers:
            while (accepted := peer._try_accept()) is not None:
                self.upstreams.append(End(self.stage, accepted, f"upstream {peer.name}"))
                self.seen.append(f"accepted by {self.stage.peers.index(peer)}")
        for number, upstream in enumerate(self.upstreams):
            if not upstream.over and (data := upstream.take()):
                self.seen.append((f"upstream {number}", data))
                self.upstreams.append(self.upstreams.pop(number))

    def look_at_counts(self) -> None:
        """See the counts of clients and of peers."""
        clients = self.stage.worker.clients
        self.seen.append((clients.count(), clients.begun, clients.requests, clients.open, clients.count_tunnels()))
        for group in self.stage.worker.groups.values():
            group.publish()  # what is counted now and then is counted now
            for peer in group.peers:
                counters = peer.counters
                self.seen.append((peer.connections, len(peer.idle), counters.requests, counters.received, counters.sent))

    def look_at_logs(self) -> None:
        """See both logs."""
        if Path(self.stage.directory, "access.log").exists():
            self.seen.extend(tuple(line.items()) for line in self.stage.access_log())
        self.seen.extend(self.stage.error_log())

    def lines(self) -> list[str]:
        """Everything that was seen, without times, processes, ports and numbers of connections."""
        text = "\n".join(map(str, self.seen))
        for number, peer in enumerate(self.stage.peers):
            text = text.replace(peer.name, f"peer{number}")
        return re.sub(r"\d{4}/\d\d/\d\d [\d:]+|\[\w+\] \d+#\d+:|\*\d+", "-", text).split("\n")
