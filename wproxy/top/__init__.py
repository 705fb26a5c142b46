"""`wproxy top`: the state of a running server in a terminal, live.

`history` makes rates and percentiles of several states, `view` makes lines of them, `keys` reads what is typed. The terminal
itself is `master.top`'s.
"""
