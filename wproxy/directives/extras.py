"""Directives that need an extra package, which is imported only where the directive is on."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from wproxy.directives.values import flag


def flag_needing(package: str, extra: str) -> Callable[[str], bool]:
    """Return a reader of `on` or `off`; `on` is refused without the package. extra: the wproxy-server extra that has it."""

    def read(value: str) -> bool:
        wanted = flag(value)
        if wanted:
            load_package(package, extra)
        return wanted

    return read


def load_package(package: str, extra: str) -> None:
    """Import a package that a directive needs: before workers are forked, and while we still have the rights to read it.

    Raises ValueError when it is not there.
    """
    try:
        import_module(package)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == package
        trouble = "is not installed" if is_missing else f"cannot be imported ({error})"
        raise ValueError(
            f'"%s" directive needs the Python package "{package}", which {trouble}: pip install \'wproxy-server[{extra}]\''
        ) from None
