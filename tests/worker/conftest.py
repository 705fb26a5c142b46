"""The stage for tests that talk to one worker; see conversation.py."""

from collections.abc import Callable, Iterator

import conversation
import pytest
from conversation import Stage

from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Callable[..., Stage]]:
    """Makes stages: `stage(peers=2, location='proxy_read_timeout = "5s"')`; each is swept at the end of the test."""
    made: list[Stage] = []

    def make(**settings: object) -> Stage:
        directory = f"{tmp_path}/{len(made)}"
        import os

        os.mkdir(directory)
        made.append(Stage(monkeypatch, directory, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def front(stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Stage]:
    """Makes a worker of the text of a `http` block in nginx's syntax."""

    def load(text: bytes, file: str, prefix: str, look_up: object) -> object:
        return resolve(parse_nginx(text, "nginx.conf"), file, f"{prefix}/", look_up)  # type: ignore[arg-type]

    def make(http: str) -> Stage:
        monkeypatch.setattr(conversation, "load_text", load)
        text = "error_log HERE/error.log info; events { } http { log_format test 'LOG_FORMAT'; access_log HERE/access.log test;\n"
        text = (text + http + "\n}").replace("{", "{{").replace("}", "}}")
        return stage(peers=0, text=text.replace("HERE", "{directory}").replace("LOG_FORMAT", "{log_format}"))

    return make
