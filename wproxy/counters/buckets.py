"""The buckets in which durations are counted."""

from __future__ import annotations

# The greatest duration of each bucket in seconds; one bucket more is for longer ones. The page of nginx's API has 5 ms to 10 s,
# which are also those that OpenTelemetry advises and that Prometheus' libraries have; 1 and 2.5 ms are for near servers, 30 and
# 60 s for default timeouts.
BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
BUCKETS = len(BOUNDS) + 1
