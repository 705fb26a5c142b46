"""Directives that need a package beside wproxy: it is asked for only where the directive is on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from wproxy.directives.values import flag


def flag_needing(package: str, extra: str) -> Callable[[str], bool]:
    """A reader of `on` or `off`; `on` is refused where the package is missing. extra: what of wproxy-server brings it."""

    def read(value: str) -> bool:
        wanted = flag(value)
        if wanted and find_spec(package) is None:
            raise ValueError(
                f'"%s" directive needs the Python package "{package}", which is not installed: '
                f"pip install 'wproxy-server[{extra}]'"
            )
        return wanted

    return read
