"""Compiles the modules of wproxy/compiled.py with mypyc if WPROXY_COMPILE is set; everything else is in setup.cfg."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress

from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from wproxy.compiled import COMPILED, GROUPS, missing_to_compile, source_of

CACHE = "build/mypy_cache"
LEVEL = "build/compile_level"  # the level of optimization of what has been built here


class Build(build_ext):
    """Has mypyc write the C files when the extensions are about to be built: not for the metadata, which pip asks for before."""

    def finalize_options(self) -> None:
        if missing := missing_to_compile():
            raise CompileError(f"wproxy cannot be compiled: {missing}")
        from mypyc.build import mypycify

        level = os.environ.get("WPROXY_COMPILE_LEVEL", "2")
        shutil.rmtree(CACHE, ignore_errors=True)  # mypyc 2.4 fails on what it has kept of classes that have changed
        self.distribution.ext_modules = mypycify(
            ["--config-file", "setup.cfg", "--cache-dir", CACHE, "--no-warn-unreachable", *map(source_of, COMPILED)],
            opt_level=level,
            debug_level="0",
            separate=[([source_of(module) for module in group], f"wproxy_{name}") for name, group in GROUPS.items()],
        )
        super().finalize_options()
        # Extensions that are newer than their sources would stay, at whatever level they were built.
        self.force = self.force or _level_of_build() != level

    def run(self) -> None:
        """Build, and write down at which level."""
        if self.force:
            with suppress(FileNotFoundError):
                os.remove(LEVEL)
        super().run()
        with open(LEVEL, "w") as file:
            file.write(os.environ.get("WPROXY_COMPILE_LEVEL", "2"))


def _level_of_build() -> str:
    """Return the level of the extensions that are here; "" if there are none, or not all."""
    try:
        with open(LEVEL) as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Compiled(Distribution):
    """A distribution with extensions, which are not known yet."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is for one interpreter only."""
        return True


if os.environ.get("WPROXY_COMPILE", "0") in ("", "0"):
    setup()
else:
    # setup_requires: pip installs this for the build, and nothing for one without it.
    setup(distclass=Compiled, cmdclass={"build_ext": Build}, setup_requires=["mypy>=2.4,<2.5"])
