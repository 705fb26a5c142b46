"""Variables made from other values by a table: `map`, `geo`, `split_clients`.

The files here are the tables and the look-ups; `wproxy.directives` reads the blocks of a configuration.
"""
