"""`wproxy explain`: the treatment of a request, and its reasons, without sending anything.

The code that serves requests runs here: `serve_connection` reads the head of the request from a stream, finds the server and the
location, goes through the phases and writes the answer to the stream. Three things differ. The stream is a `Script`: the bytes of
a client, and those it gets. The tables of the listener give the request a `Trace` (told.py), and the code that decides records
its decisions there. And where a worker would exchange the head with a peer, the head is kept instead (rehearsal.py).
"""

from __future__ import annotations

from worker.attach import attach_server, detach_server
from worker.explain.describe import describe
from worker.explain.listener import choose_listener, servers_of
from worker.explain.rehearsal import Rehearsal, rehearse
from wproxy.config.model import Configuration
from wproxy.explain import Explanation, Positions, Question


def explain(configuration: Configuration, positions: Positions, question: Question) -> Explanation:
    """Return what this configuration does with a request. positions: those of its tree. Raises wproxy.explain.CannotExplain."""
    found = Explanation()
    listener, found.listener_why = choose_listener(configuration, question.url, question.listen)
    found.listener, found.listener_at = str(listener.address), str(listener.position)
    found.refusals = [str(problem) for problem in configuration.refusals]
    worker = Rehearsal(configuration)
    try:
        for server in servers_of(listener):
            attach_server(server, worker.services)
            worker.watch(server)
        request, sent = rehearse(worker, listener, question, positions, found)
        describe(found, worker, request, sent)
    finally:
        for server in servers_of(listener):
            detach_server(server)
        worker.loop.close()
    return found
