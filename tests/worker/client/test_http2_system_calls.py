"""What requests in HTTP/2 ask of the kernel (see ../test_system_calls.py)."""

from __future__ import annotations

import pytest
from conversation import ok
from speaking import EH, ES, H2, HEADERS, block, fields_of, frame, http2
from test_system_calls import calls_of


@pytest.mark.interpreted_only("the calls of compiled code are not shown to a profiler")
@pytest.mark.parametrize("many", [1, 10])
def test_requests_in_http_2_that_come_together_leave_together(stage, many):
    """One read and one write for all of them, and for each as much as HTTP/1 on the side of the upstream."""
    s = http2(stage, locations='[http.server.location."/ready"]\nreturn = [200, "ready"]\n')
    h2 = H2(s)
    h2.ask(1, b"/ready").answer(1)
    heads = [frame(HEADERS, EH | ES, stream, block(fields_of(b"/ready"))) for stream in range(3, 3 + 2 * many, 2)]
    h2.end.sock.sendall(b"".join(heads))
    assert calls_of(s) == {"read": 1, "write": 1}
    h2.open_windows().ask(101)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    assert h2.answer(101) == (200, b"ok")
    h2.end.sock.sendall(frame(HEADERS, EH | ES, 103, block(fields_of())))
    asking = calls_of(s)
    upstream.receives_head()
    upstream.sock.sendall(ok())
    assert asking + calls_of(s) == {"read": 2, "write": 2}
