"""The benchmark: wproxy, nginx and HAProxy side by side, on one core each turn, in interleaved rounds.

It measures the processor time that a proxy spends on one request, how many requests per second it passes and how long they take,
for the same configuration and the same load. The proxy has a core of its own; the load (wrk) and the backend (nginx) share
another. Absolute figures drift by a third with the machine's mood, so each round measures all contestants within a few seconds,
and the report gives the median of the rounds' ratios with the smallest and the largest.

One worker on one core over loopback says nothing about scaling over cores or about networks with delay.

Reading order: `workloads` (the questions), `configurations` (those of all sides), `contestants` (what is compared), `servers`
(start and stop), `wrk`, `h2load`, `echo`, `handshakes` and `openloop` (the load), `measure` (the processor time), `memory`,
`rounds` (the interleaving), `ratios` (the arithmetic), `report` (tables), `documents` and `plot` (docs/performance.md), `goals`.
"""
