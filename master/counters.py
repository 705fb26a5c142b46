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
    from wproxy.counters.carried import carrying_to
    from wproxy.counters.memory import counter_memory
    from wproxy.counters.plan import plan_counting

    memory = counter_memory()
    # From now on a peer's record that gets another peer is cleared there, too.
    shared.clear_more = memory.clear_peer
    alive = {slot.get(WORKER_GENERATION) for slot in shared.workers()}
    plan = plan_counting(configuration, memory, generation, alive, shared.slots)
    carrying = carrying_to(memory)
    if carrying is not None:
        records = shared.known_records()
        carrying.bring_baselines(records)
        for _ in carrying.bring(shared.slots, records):
            pass
    return plan


def end_carrying(shared: SharedWords) -> None:
    """Bring the counts of an older program over for the last time: it has ended, with all of its workers."""
    if shared.clear_more is None:
        return  # nothing is counted
    from wproxy.counters.carried import carrying_to
    from wproxy.counters.layout import HEAD_CARRIES, WAS_CARRIED
    from wproxy.counters.memory import counter_memory

    memory = counter_memory()
    carrying = carrying_to(memory)
    if carrying is not None:
        for _ in carrying.bring(shared.slots, shared.known_records()):
            pass
        memory.words[HEAD_CARRIES] = WAS_CARRIED


def provide_decision_ring(configuration: Configuration) -> None:
    """Make the memory of recorded requests that the workers share, before they are forked (`wproxy.decisions`)."""
    if configuration.tree is not None:
        from wproxy.decisions.ring import decision_ring

        decision_ring()
