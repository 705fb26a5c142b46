"""The benchmark: wproxy and the real nginx side by side, on one core each turn, in interleaved rounds.

It measures the processor time that the proxy spends on one request, and how many requests per second it passes, for the same
configuration and the same load. The proxy has a core of its own; the load (wrk) and the backend (nginx) share
another. Absolute figures drift by a third with the machine's mood, so each round measures both within a few seconds,
and the report gives the median of the rounds' ratios with the smallest and the largest.

One worker on one core over loopback says nothing about scaling over cores, about networks with delay, or about latency below
saturation.

Reading order: `workloads` (the questions), `configurations` (those of both sides), `servers` (start and stop), `wrk`
(the load), `measure` (the processor time), `rounds` (the interleaving), `ratios` (the arithmetic), `report` (tables).
"""
