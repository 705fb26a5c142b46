"""`wproxy check`: the messages of `-t`, and settings that are allowed but hardly meant, with the reason and the fix.

A rule is a row in one of the tables of this package (`wproxy.check.table`), with its reason, a bad and a good example. It reads
the directive tree, which both syntaxes produce. A comment can silence it (`wproxy.check.silence`).
"""
