"""What Hypothesis makes up may take its time: tests/conftest.py has seen to that before a file with such tests is imported."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

AT_IMPORT = settings.default


@given(st.none())
def test_no_example_is_too_slow_for_a_busy_machine(_: None):
    assert AT_IMPORT is not None and AT_IMPORT.deadline is None
    assert HealthCheck.too_slow in AT_IMPORT.suppress_health_check
