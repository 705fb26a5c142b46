"""Counters of requests, upstreams, limits and workers, for `metrics`, `api`, `dashboard` and `status_zone`.

`layout` says where each count is, `memory` has the memory and gives names their rows, `plan` says which rows a configuration
needs, `totals` adds up what all workers have counted. Workers count in `worker/counters/`.
"""
