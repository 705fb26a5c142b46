"""wproxy beside the real nginx, on configurations and requests that nobody thought of.

`values` writes arguments by the type of a directive, `trees` combines directives to configurations, `requests` writes what is
asked of them; `backend` stands behind and records; `fronts` starts nginx or wproxy on the same text and ports, one after the
other; `comparison` tells the differences apart from those that are on purpose (`on_purpose`); `smaller` cuts a failing
configuration down. `python -m differential` in tests/ runs for as long as it is told and reports what it has found.
"""
