"""What all workers see of each other's requests: the rows of counters (`wproxy.counters`), and the ring of decisions."""

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


def provide_decision_ring(configuration: Configuration) -> None:
    """Make the memory of recorded requests that the workers share, before they are forked (`wproxy.decisions`)."""
    if configuration.tree is not None:
        from wproxy.decisions.ring import decision_ring

        decision_ring()
