"""The words by which a class tells mypyc how to compile it. They mean nothing to an interpreted one.

`@mypyc_attr(allow_interpreted_subclasses=True)`: for a class from which classes of interpreted modules, or of tests, derive.
`serializable=True`: for a class whose objects `copy` copies; mypyc 2.4 calls its `__init__` from interpreted code only with the
other one. `native_class=False`: for a class that needs a dictionary; its methods are compiled all the same.

mypyc knows the decorator by its name in `mypy_extensions`, which only it and type checkers import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**settings):
        """Return a decorator that leaves the class as it is."""
        return lambda cls: cls


# None, as the default on a class of an attribute whose type has a Protocol or several classes: there mypyc 2.4 ignores the word.
NONE: Final = None
