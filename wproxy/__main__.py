"""The command `wproxy`: joins the three rooms. Words are parsed here; the master and the worker do the work."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wproxy.cli import configuration_file, is_for_nginx, parser, prefix_of
from wproxy.identity import WPROXY, Identity, identity_of

if TYPE_CHECKING:
    from master.api_client import ApiClient
    from master.generation import Role
    from master.start_log import StartLog
    from wproxy.assignment import Assignment
    from wproxy.config.document import Document, SourceFile
    from wproxy.config.model import Configuration
    from wproxy.config.tree import ConfigurationError
    from wproxy.options import Options, Paths
    from wproxy.shown_certificates import ShownCertificate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. arguments: the words after the program's name; the process's own by default."""
    program, words = (sys.argv[0], sys.argv[1:]) if arguments is None else ("", arguments)
    identity, words = identity_of(program, words)
    try:
        if identity is not WPROXY or (words and is_for_nginx(words[0])):
            return as_nginx(identity, words)
        given = parser().parse_args(words)
        return DEEDS[given.command](given)
    except KeyboardInterrupt:
        return 130


def as_nginx(identity: Identity, words: Sequence[str]) -> int:
    """Run nginx's own command line: report, test, signal or start (nginx: main in src/core/nginx.c)."""
    from wproxy.options import BadOption, find_paths, read_options

    try:
        options = read_options(words)
    except BadOption as error:
        sys.stderr.write(f"{identity.name}: {error}\n")
        return 1
    if options.version:
        tell_version(identity, options)
        if not options.test:
            return 0
    from master.start_log import StartLog

    where = find_paths(options, identity)
    log = StartLog(identity, where.log)
    if options.test:
        return test(where, identity, options, log)
    if options.signal:
        return send(where, identity, options, log)
    return start(lambda: load(where, identity, options)[0], log=log)


def tell_version(identity: Identity, options: Options) -> None:
    """Print the answer to `-v`, `-V` or `-h`."""
    from wproxy.about import build_text, usage_text, version_text

    sys.stderr.write(version_text(identity))
    if options.help:
        sys.stderr.write(usage_text(identity))
    if options.build:
        sys.stderr.write(build_text(identity))


def load(where: Paths, identity: Identity, options: Options) -> tuple[Configuration, Document]:
    """Load the configuration that nginx's options name; return it with the identity's defaults, and the files that were read.

    Raises ConfigurationError.
    """
    from master.names import look_up
    from wproxy.config.load import load_document, resolve_document
    from wproxy.defaults import apply_defaults

    document = load_document(where.file, options.directives)
    configuration = resolve_document(document, where.file, where.prefix, look_up)
    return apply_defaults(configuration, identity, options.error_log), document


def test(where: Paths, identity: Identity, options: Options, log: StartLog) -> int:
    """Run `-t` or `-T`: test the configuration, and print it for `-T`."""
    from master.check import check_configuration

    files: list[SourceFile] = []

    def load_and_keep() -> Configuration:
        configuration, document = load(where, identity, options)
        files.extend(document.files)
        return configuration

    code = check_configuration(load_and_keep, where.file, log, options.quiet)
    if options.dump and code == 0:
        for source in files:  # each file once, however often it was included
            sys.stdout.buffer.write(b"# configuration file %s:\n%s\n" % (os.fsencode(source.name), source.content))
        sys.stdout.buffer.flush()
    return code


def send(where: Paths, identity: Identity, options: Options, log: StartLog) -> int:
    """Run `-s`: send a signal, unless the configuration is broken or a reload would be refused."""
    from master.control import signal_master
    from wproxy.config.tree import ConfigurationError

    try:
        configuration, _ = load(where, identity, options)
    except ConfigurationError as error:
        log.tell_all("emerg", error.problems)
        return 1
    if options.signal == "reload":
        from master.check import unusable_tls

        # Like nginx, which loads certificates as it reads the configuration, and sends no signal then.
        problems = [*configuration.refusals, *unusable_tls(configuration)]
        if problems:
            log.tell_all("emerg", problems)
            return 1
    if not configuration.pid:
        log.tell("error", 'there is no pid file to find the master by: "pid" is off')
        return 1
    return signal_master(options.signal, configuration.path(configuration.pid), log)


def start(load: Callable[[], Configuration], foreground: bool | None = None, log: StartLog | None = None) -> int:
    """Become the master of a configuration."""
    from master.signals import heed_interrupts
    from master.supervise import supervise
    from worker.imports import import_needed
    from worker.run import work

    heed_interrupts()
    return supervise(lambda: import_needed(load()), work, foreground=foreground, log=log, roles=roles())


def roles() -> tuple[Role, ...]:
    """Return the processes that a configuration may ask for in addition to its workers."""
    from master.generation import Role
    from wproxy.shared import CACHE_LOADER, CACHE_MANAGER

    def manage(assignment: Assignment) -> None:
        from worker.cache.processes import manage

        manage(assignment)

    def load(assignment: Assignment) -> None:
        from worker.cache.processes import load

        load(assignment)

    return (
        Role(CACHE_MANAGER, manage, lambda configuration: bool(configuration.cache_zones)),
        Role(CACHE_LOADER, load, lambda configuration: any(zone.memory.is_cold for zone in configuration.cache_zones), ends=True),
    )


def start_file(given: argparse.Namespace) -> int:
    """Run `wproxy start`: become the master of a configuration file."""
    from master.names import look_up
    from wproxy.config.load import load_configuration

    file = configuration_file(given.config)
    prefix = prefix_of(given.prefix, file)
    file = os.path.abspath(file) if os.path.exists(file) else file
    return start(lambda: load_configuration(file, prefix, look_up), given.foreground or None)


def proxy(given: argparse.Namespace) -> int:
    """Run `wproxy proxy`: become the master of the configuration that a command line stands for."""
    from wproxy.quick import quick_configuration

    certificate = None
    if given.tls or given.tls_name:
        from master.local_authority import CannotCertify
        from wproxy.about import is_effective

        try:
            certificate = local_certificate(given)
        except CannotCertify as error:
            sys.stderr.write(f"wproxy: [emerg] {error}\n")
            return 1
    has_http2 = certificate is not None and is_effective("http2")
    text = quick_configuration(given.listen, given.upstream, given.workers, certificate, has_http2)
    if given.show_config:
        sys.stdout.write(text)
        return 0
    from master.names import look_up
    from master.signals import heed_interrupts
    from master.supervise import supervise
    from worker.imports import import_needed
    from worker.run import work
    from wproxy.config.load import load_text

    heed_interrupts()
    return supervise(
        lambda: import_needed(load_text(text.encode("utf-8", "surrogateescape"), "wproxy proxy.toml", os.getcwd(), look_up)),
        work,
        foreground=True,
        roles=roles(),
    )


def local_certificate(given: argparse.Namespace) -> tuple[str, str]:
    """Return the files of a certificate for this machine, and say how it is trusted. Raises CannotCertify."""
    import time

    from master.local_authority import provide_certificate, usual_directory

    made = provide_certificate(usual_directory(), given.listen, given.tls_name, time.time())
    sys.stderr.write(f"wproxy: [notice] {made.advice()}\n")
    return made.certificate, made.key


def explain(given: argparse.Namespace) -> int:
    """Run `wproxy explain`: show what a configuration does with a request."""
    from master.names import look_up
    from worker.explain import explain as find_out
    from worker.regex_guard import install_regex_guard
    from wproxy.config.load import load_document, resolve_document
    from wproxy.config.tree import ConfigurationError
    from wproxy.explain import CannotExplain, Positions, as_json, as_text, read_question

    file = configuration_file(given.config)
    if given.last is not None or given.sign is not None:
        return sign(given, file) if given.last is None else recall(given, file)
    if given.url is None:
        sys.stderr.write("wproxy: [error] what is to be explained? Give a URL, or --last [REQUEST_ID]\n")
        return 2
    try:
        question = read_question(given.method, given.url, given.header, given.client, given.listen, given.http2)
        document = load_document(file)
        configuration = resolve_document(document, file, prefix_of(given.prefix, file), look_up)
        install_regex_guard()
        found = find_out(configuration, Positions(configuration, document.root), question)
    except ConfigurationError as error:
        return refuse(error)
    except CannotExplain as error:
        sys.stderr.write(f"wproxy: [error] {error}\n")
        return 1
    text = as_json(found) if given.json else as_text(found, given.all)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()
    return 0


def recall(given: argparse.Namespace, file: str) -> int:
    """Run `wproxy explain --last`: show what was decided about recent requests."""
    from urllib.parse import quote

    from master.api_client import ApiClient
    from wproxy.config.load import configured_api_socket
    from wproxy.config.tree import ConfigurationError
    from wproxy.decisions.show import as_json, as_text, list_as_text
    from wproxy.upstream_command import CannotChange

    try:
        api = ApiClient(configured_api_socket(file, prefix_of(given.prefix, file)))
        found = api.ask("GET", f"/wproxy/requests/{quote(given.last, safe='')}".rstrip("/"))
    except ConfigurationError as error:
        return refuse(error)
    except CannotChange as error:
        sys.stderr.write(f"wproxy: [error] {error}\n")
        return 1
    shown = as_json(found) if given.json else as_text(found, given.all) if given.last else list_as_text(found)
    sys.stdout.buffer.write(shown.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()
    return 0


def sign(given: argparse.Namespace, file: str) -> int:
    """Run `wproxy explain --sign`: print the field of a request that asks for the decisions about it."""
    import time

    from wproxy.config.load import load_document
    from wproxy.config.tree import ConfigurationError
    from wproxy.decisions.signature import LONGEST, signed
    from wproxy.directives.explain_ring import configured_secret

    if not 0 < given.sign <= LONGEST:
        sys.stderr.write(f"wproxy: [error] invalid number of seconds {given.sign}: 1 to {LONGEST}\n")
        return 2
    try:
        secret = configured_secret(load_document(file).root)
    except ConfigurationError as error:
        return refuse(error)
    sys.stdout.write(f"X-Wproxy-Explain: {signed(secret, int(time.time()) + given.sign).decode('ascii')}\n")
    return 0


def convert(given: argparse.Namespace) -> int:
    """Run `wproxy convert`: print the same configuration in the other syntax."""
    from wproxy.config.convert import NGINX, TOML, syntax_of
    from wproxy.config.load import convert_file
    from wproxy.config.tree import ConfigurationError

    to = {"toml": TOML, "nginx": NGINX, None: NGINX if syntax_of(given.file) == TOML else TOML}[given.to]
    try:
        text = convert_file(given.file, to)
    except ConfigurationError as error:
        return refuse(error)
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return 0


def check(given: argparse.Namespace) -> int:
    """Run `wproxy check`: the test of `-t`, and the lint rules."""
    import time

    from master.check import obstacles
    from master.names import look_up
    from wproxy.check.command import run_check

    file = given.file or configuration_file(given.config)
    return run_check(given, file, prefix_of(given.prefix, file), look_up, obstacles, time.time())


def why(given: argparse.Namespace) -> int:
    """Run `wproxy why`: group error logs by end causes."""
    import time

    from wproxy.why.command import run_why

    return run_why(given, time.time())


def refuse(error: ConfigurationError) -> int:
    """Report everything that is wrong with a configuration; return the exit code."""
    for problem in error.problems:
        sys.stderr.write(f"wproxy: [emerg] {problem}\n")
    return 1


def demo(given: argparse.Namespace) -> int:
    """Run `wproxy demo`: three applications behind the shipped configuration."""
    from master.demo import run_demo

    return run_demo(given.config or shipped_configuration(), once=given.once)


def shipped_configuration() -> str:
    """Return the path of the shipped configuration: the one at the top of a source tree; in an installation, a private copy.

    The copy exists because logs and the pid file lie beside the configuration.
    """
    shipped = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "wproxy.toml"))
    if os.path.dirname(shipped) != os.path.dirname(os.path.abspath(__file__)):  # a symbolic link in a source tree
        return shipped
    import shutil
    import tempfile

    return shutil.copy(shipped, tempfile.mkdtemp(prefix="wproxy-demo-"))


def control(given: argparse.Namespace) -> int:
    """Run `wproxy stop`, `quit`, `reload`, `reopen`, `upgrade` or `status`: find the running master and give it the order."""
    from master import control as commands
    from master.signals import heed_interrupts
    from wproxy.config.load import configured_pid
    from wproxy.config.tree import ConfigurationError

    heed_interrupts()
    file = configuration_file(given.config)
    try:
        pid_path = configured_pid(file, prefix_of(given.prefix, file))
    except ConfigurationError as error:
        return refuse(error)
    if given.command == "status":
        from master.status import status

        return status(
            pid_path,
            given.json,
            file,
            lambda: peer_counts(file, prefix_of(given.prefix, file)),
            lambda now: certificates_in(file, now),
        )
    if given.command == "upgrade":
        from master.upgrade_command import upgrade

        return upgrade(pid_path)
    deeds = {"stop": commands.stop, "quit": commands.quit, "reload": commands.reload, "reopen": commands.reopen}
    return deeds[given.command](pid_path)


def peer_counts(file: str, prefix: str) -> dict[str, dict[str, int]]:
    """Count the peers of each upstream by state, for `wproxy status`; empty when the API does not answer."""
    from master.api_client import ApiClient
    from wproxy.config.load import configured_api_socket
    from wproxy.config.tree import ConfigurationError
    from wproxy.upstream_command import count_peers

    try:
        return count_peers(ApiClient(configured_api_socket(file, prefix), seconds=2.0))
    except ConfigurationError:
        return {}


def certificates_in(file: str, now: float) -> list[ShownCertificate]:
    """Return the certificates that the servers of a configuration file name, for `wproxy status`."""
    from wproxy.config.load import load_document
    from wproxy.config.tree import ConfigurationError
    from wproxy.shown_certificates import certificates_of

    try:
        return certificates_of(load_document(file).root, os.path.dirname(os.path.abspath(file)), now)
    except ConfigurationError:
        return []


def upstream(given: argparse.Namespace) -> int:
    """Run `wproxy upstream`: ask the running server about its upstreams, or change one."""
    from wproxy.upstream_command import run_action

    return ask_server(given, lambda api: run_action(given.action, given.words, given.json, api))


def cache(given: argparse.Namespace) -> int:
    """Run `wproxy cache`: ask the running server about its caches, or purge one."""
    import time

    from wproxy.cache_command import run_cache_action

    return ask_server(given, lambda api: run_cache_action(given.action, given.words, given.json, api, time.time()))


def metrics(given: argparse.Namespace) -> int:
    """Run `wproxy metrics`: print the counters of a running server."""
    kind = "application/openmetrics-text" if given.openmetrics else "text/plain"
    return ask_server(given, lambda api: api.read_metrics(given.name, kind))


def ask_server(given: argparse.Namespace, run: Callable[[ApiClient], str]) -> int:
    """Run a command with the API of the running server, and print what it returns."""
    from master.api_client import ApiClient
    from wproxy.config.load import configured_api_socket
    from wproxy.config.tree import ConfigurationError
    from wproxy.upstream_command import CannotChange

    file = configuration_file(given.config)
    try:
        text = run(ApiClient(configured_api_socket(file, prefix_of(given.prefix, file))))
    except ConfigurationError as error:
        return refuse(error)
    except CannotChange as error:
        sys.stderr.write(f"wproxy: [error] {error}\n")
        return 1
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()
    return 0


def top(given: argparse.Namespace) -> int:
    """Run `wproxy top`: show what a running server is doing."""
    from master.api_client import ApiClient
    from master.top import top as show
    from wproxy.config.load import configured_api_socket
    from wproxy.config.tree import ConfigurationError
    from wproxy.upstream_command import CannotChange

    file = configuration_file(given.config)
    try:
        path = configured_api_socket(file, prefix_of(given.prefix, file))
        return show(ApiClient(path), given.once, given.json)
    except ConfigurationError as error:
        return refuse(error)
    except CannotChange as error:
        sys.stderr.write(f"wproxy: [error] {error}\n")
        return 1


# Keyed by the name of the command: see `wproxy.cli.COMMANDS`.
DEEDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "start": start_file,
    "check": check,
    "explain": explain,
    "convert": convert,
    "why": why,
    "proxy": proxy,
    "demo": demo,
    "upstream": upstream,
    "top": top,
    "metrics": metrics,
    "cache": cache,
    **dict.fromkeys(("stop", "quit", "reload", "reopen", "upgrade", "status"), control),
}


if __name__ == "__main__":
    sys.exit(main())
