"""Every configuration of tests/examples and of the pages, as TOML: started for real, and asked for all of its locations."""

import pytest
from started_examples import *  # noqa: F403  the test itself

from wproxy.config.convert import TOML

pytestmark = pytest.mark.whole


@pytest.fixture
def syntax() -> str:
    return TOML
