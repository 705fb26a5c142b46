"""Pages under docs/ that are written from tables of the program: `python -m MODULE` of the module that has the table."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")


def write_pages(pages: Mapping[str, str]) -> int:
    """Write the pages, by their paths; return the exit code."""
    for path, text in pages.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        sys.stdout.write(f"{os.path.normpath(path)}\n")
    return 0
