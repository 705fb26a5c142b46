"""Counting, in a worker whose configuration shows counters (`wproxy.counters`); others import none of this.

`counting` has the worker's rows and brings them into the shared memory, `requests` counts a request at its end, `peers` an
attempt at a peer.
"""
