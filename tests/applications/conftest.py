"""Services, applications and fronts that live as long as the tests of one application."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from differential.fronts import OLD_NGINX, new_nginx

from applications.fronts import Fronts
from applications.programs import Program, needed
from bench.ports import free_port
from bench.servers import php_fpm_program

# A kept connection occupies a child: there are more than all fronts together keep.
FPM = """\
[global]
daemonize = no
error_log = {directory}/fpm.log
[www]
{user}
listen = {directory}/fpm.sock
listen.mode = 0666
pm = static
pm.max_children = 16
php_admin_value[upload_max_filesize] = 32M
php_admin_value[post_max_size] = 32M
"""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test of this directory: pytest asks a conftest.py of no others, while it would hand over the whole list of tests."""
    item.add_marker(pytest.mark.applications)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for logs, sockets and data."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[Program], Program]]:
    """Takes a program that has been started; it is ended after the tests of the module, the last one first."""
    running: list[Program] = []

    def keep(program: Program) -> Program:
        running.append(program)
        return program

    yield keep
    for program in reversed(running):
        program.end()


@pytest.fixture(scope="module")
def redis(directory: Path, run: Callable[[Program], Program]) -> int:
    """The port of a Redis with nothing in it."""
    port = free_port()
    words = f"--port {port} --bind 127.0.0.1 --appendonly no --dir {directory} --save".split()
    run(Program("redis", [needed("redis-server"), *words, ""], directory, port))
    return port


@pytest.fixture(scope="module")
def fronts(directory: Path) -> Iterator[Callable[..., Fronts]]:
    """Starts nginx and wproxy on a file of nginx's, in which @WORD@ stands for what is given. old: with Debian's nginx, for its modules."""
    running: list[Fronts] = []

    def start(file: Path, old: bool = False, **words: object) -> Fronts:
        nginx = (OLD_NGINX if old else new_nginx() or OLD_NGINX) or needed("nginx")
        running.append(Fronts(nginx, directory / f"fronts{len(running)}", file, words))
        return running[-1]

    yield start
    for pair in running:
        pair.end()


@pytest.fixture(scope="module")
def fpm(directory: Path, run: Callable[[Program], Program]) -> Path:
    """The socket of PHP-FPM."""
    program = needed(php_fpm_program() or "php-fpm")
    as_root = os.geteuid() == 0
    (directory / "fpm.conf").write_text(FPM.format(directory=directory, user="user = root" if as_root else ""))
    command = [program, "-F", "-y", directory / "fpm.conf", *(["-R"] if as_root else [])]
    run(Program("php-fpm", command, directory, directory / "fpm.sock"))
    return directory / "fpm.sock"
