"""The dashboard: what all workers count, for a page in a browser (worker/content/dashboard.py) and for `wproxy top`.

`snapshot` is the state as plain values, `updates` makes one a second for all who look, `patch` finds what has changed.
"""
