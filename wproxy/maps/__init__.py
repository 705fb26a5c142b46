"""Variables made from other values by a table: `map`, `geo`, `split_clients`.

The files here are the tables and the look-ups; what a configuration writes is read in `wproxy.directives`.
"""
