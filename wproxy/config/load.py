"""Reading a configuration: the file to bytes, the bytes to a tree, the tree to the model."""

from __future__ import annotations

import os

from wproxy.config.model import Configuration
from wproxy.config.resolve import LookUp, resolve
from wproxy.config.tree import ConfigurationError, Problem


def load_configuration(file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Read and resolve a configuration file.

    file: its path. prefix: the directory that relative paths inside start from. Raises ConfigurationError.
    """
    try:
        with open(file, "rb") as opened:
            text = opened.read()
    except OSError as error:
        raise ConfigurationError(Problem(f'open() "{file}" failed ({error.errno}: {error.strerror})')) from None
    return load_text(text, file, prefix, look_up)


def load_text(text: bytes, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Resolve the text of a configuration; `file` is its name in messages."""
    from wproxy.config.toml import parse_toml

    return resolve(parse_toml(text, file), file, os.path.join(prefix, ""), look_up)
