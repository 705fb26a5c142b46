"""The decisions of requests that have been served: a ring of the last ones, and the signed field that asks for them.

`ring` keeps them in memory that all workers share, `signature` says whether a client may ask, `show` is the output of
`wproxy explain --last`. A worker writes them down in `worker.decisions`.
"""
