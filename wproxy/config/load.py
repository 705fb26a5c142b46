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
    return load_text(read_file(file), file, prefix, look_up)


def read_file(file: str) -> bytes:
    """The bytes of a configuration file; raises ConfigurationError."""
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except (OSError, ValueError) as error:
        number, text = (error.errno, error.strerror) if isinstance(error, OSError) else (22, str(error))
        raise ConfigurationError(Problem(f'open() "{file}" failed ({number}: {text})')) from None


def load_text(text: bytes, file: str, prefix: str, look_up: LookUp) -> Configuration:
    """Resolve the text of a configuration; `file` is its name in messages."""
    from wproxy.config.toml import parse_toml

    return resolve(parse_toml(text, file), file, os.path.join(prefix, ""), look_up)


def configured_pid(file: str, prefix: str) -> str:
    """The path of the pid file that a configuration names, whatever else may be wrong in it.

    Raises ConfigurationError when the file cannot be read as TOML at all, or says that there is no pid file.
    """
    from wproxy.config.toml import parse_toml

    root = parse_toml(read_file(file), file)
    node = next(iter(root.named("pid")), None)
    path = node.arguments[0] if node and node.arguments else "run/wproxy.pid"
    if path == "off":
        raise ConfigurationError(
            Problem('there is no pid file to find the master by: "pid" is off', node.position if node else None)
        )
    return os.path.join(prefix, path)
