"""The rows of counters that a generation of workers needs (`wproxy.counters`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wproxy.config.counting import wants_counters
from wproxy.config.model import Configuration
from wproxy.shared import WORKER_GENERATION, SharedWords

if TYPE_CHECKING:
    from wproxy.counters.plan import CountingPlan


def assign_rows(configuration: Configuration, shared: SharedWords, generation: int) -> CountingPlan | None:
    """Give everything in a configuration that is counted its row, before the workers of that generation are forked.

    None if it shows no counters.
    """
    if not wants_counters(configuration):
        return None
    from wproxy.counters.memory import counter_memory
    from wproxy.counters.plan import plan_counting

    memory = counter_memory()
    # From now on a peer's record that gets another peer is cleared there, too.
    shared.clear_more = memory.clear_peer
    alive = {slot.get(WORKER_GENERATION) for slot in shared.workers()}
    return plan_counting(configuration, memory, generation, alive, shared.slots)
