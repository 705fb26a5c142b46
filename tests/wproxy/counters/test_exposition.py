"""The text of metrics: what differs between the formats, what is escaped, and which format a client gets."""

from __future__ import annotations

import pytest

from wproxy.counters.exposition import COUNTER, GAUGE, HISTOGRAM, INFO, Exemplar, Exposition, escaped, labels, wants_openmetrics
from wproxy.counters.totals import Histogram

TIMES = Histogram((1, 2, 0, *[0] * 15, 4), 250.5)


def page(is_open: bool) -> str:
    made = Exposition(is_open, (0.001, 1.0))
    made.samples("x_info", INFO, "A.", [(labels(version="1"), 1)])
    made.samples("x_bytes_total", COUNTER, "B.", [(labels(code="200"), 3)])
    made.samples("nginx_connections_accepted", COUNTER, "C.", [("", 4)])
    made.samples("x_seconds", GAUGE, "D.", [("", 0.5)])
    made.samples("x_nothing", GAUGE, "E.", [])
    if made.family("x_time_seconds", HISTOGRAM, "F."):
        exemplars = {1: Exemplar("ab", "cd", 0.002, 1520879607.789)}
        made.histogram("x_time_seconds", labels(server="s"), TIMES, exemplars)
    made.end()
    return made.take()


def test_the_text_format():
    assert page(is_open=False) == (
        "# HELP x_info A.\n# TYPE x_info gauge\n"
        'x_info{version="1"} 1\n'
        "# HELP x_bytes_total B.\n# TYPE x_bytes_total counter\n"
        'x_bytes_total{code="200"} 3\n'
        "# HELP nginx_connections_accepted C.\n# TYPE nginx_connections_accepted counter\n"
        "nginx_connections_accepted 4\n"
        "# HELP x_seconds D.\n# TYPE x_seconds gauge\n"
        "x_seconds 0.5\n"
        "# HELP x_time_seconds F.\n# TYPE x_time_seconds histogram\n"
        'x_time_seconds_bucket{server="s",le="0.001"} 1\n'
        'x_time_seconds_bucket{server="s",le="1.0"} 3\n'
        'x_time_seconds_bucket{server="s",le="+Inf"} 7\n'
        'x_time_seconds_sum{server="s"} 250.5\n'
        'x_time_seconds_count{server="s"} 7\n'
    )


def test_openmetrics():
    assert page(is_open=True) == (
        "# TYPE x info\n# HELP x A.\n"
        'x_info{version="1"} 1\n'
        "# TYPE x_bytes counter\n# UNIT x_bytes bytes\n# HELP x_bytes B.\n"
        'x_bytes_total{code="200"} 3\n'
        "# TYPE nginx_connections_accepted unknown\n# HELP nginx_connections_accepted C.\n"
        "nginx_connections_accepted 4\n"
        "# TYPE x_seconds gauge\n# UNIT x_seconds seconds\n# HELP x_seconds D.\n"
        "x_seconds 0.5\n"
        "# TYPE x_time_seconds histogram\n# UNIT x_time_seconds seconds\n# HELP x_time_seconds F.\n"
        'x_time_seconds_bucket{server="s",le="0.001"} 1\n'
        'x_time_seconds_bucket{server="s",le="1.0"} 3 # {trace_id="ab",span_id="cd"} 0.002 1520879607.789\n'
        'x_time_seconds_bucket{server="s",le="+Inf"} 7\n'
        'x_time_seconds_sum{server="s"} 250.5\n'
        'x_time_seconds_count{server="s"} 7\n'
        "# EOF\n"
    )


def test_only_the_families_that_are_asked_for():
    made = Exposition(False, (1.0,), ("x_a",))
    made.samples("x_ab", GAUGE, "A.", [("", 1)])
    made.samples("x_b", GAUGE, "B.", [("", 1)])
    assert "x_b" not in made.take()


def test_a_label_may_hold_anything():
    assert labels(server='a"b\\c\nd', location="") == r'server="a\"b\\c\nd"'
    assert escaped("caf\xe9") == "caf\xe9"
    assert escaped(b"\xff/".decode("utf-8", "surrogateescape")) == "\ufffd/"


@pytest.mark.parametrize(
    ("accept", "is_open"),
    [
        (None, False),
        (b"*/*", False),
        (b"text/plain", False),
        (b"application/openmetrics-text", True),
        (
            b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            b"text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            True,
        ),
        (b"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", False),
        (b"text/plain, application/openmetrics-text;q=0.5", False),
        (b"application/openmetrics-text;q=0", False),
        (b"application/openmetrics-text; q=none, text/plain", False),
    ],
)
def test_the_format_is_the_one_that_is_accepted(accept, is_open):
    assert wants_openmetrics(accept) is is_open
