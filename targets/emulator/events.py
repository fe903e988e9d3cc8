"""What happened, by halfword of code: in the whole run, and in each call that a function makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinyc.targets.emulator.native import Counter

Reading = npt.NDArray[np.uint64]  # [fields of Event, halfwords]


class Event(NamedTuple):
    """What happened at one instruction.

    executed, taken_in, taken_out, skipped  times: see callback.c
    extra  cycles that depend on operands: divides, misaligned accesses
    """

    executed: int = 0
    taken_in: int = 0
    taken_out: int = 0
    skipped: int = 0
    extra: int = 0


Events = Mapping[int, Event]  # by index of the halfword, ascending; only where something happened


@dataclass(slots=True, eq=False)
class Recorder:
    """Reads the counters whenever a call of the observed function has returned.

    Code that several calls share has one set of counters; what one call took is the difference
    between two readings. The hook comes after the one that counts: the caller's instruction after
    the call is counted by then, and the return's branch with it. So the events of a call hold all
    of its callees, and beside them only instructions of the caller.
    """

    counter: Counter
    views: Sequence[Reading]  # the counter's arrays, as they change
    instructions: int = 0  # counted when the caller's last instruction was
    last: Reading | None = None  # None before the caller begins
    calls: list[Events] = field(default_factory=list)

    def note_instruction(self, core: Any, address: int, size: int, data: object) -> None:
        """The hook: the caller executes; if others did since its last instruction, a call ended."""
        before, self.instructions = self.instructions, self.counter.instructions
        if self.last is None:
            self.last = np.array(self.views)
        elif self.instructions > before + 1:
            self.end_call()

    def end_call(self) -> None:
        """What was counted since the last reading is one call."""
        now = np.array(self.views)
        assert self.last is not None, "the caller has not begun"
        self.calls.append(events_of(now - self.last))
        self.last = now


def new_recorder(counter: Counter, halfwords: int) -> Recorder:
    """A recorder of the counter's first `halfwords` places."""
    arrays = (getattr(counter, name) for name in Event._fields)
    return Recorder(counter, [np.ctypeslib.as_array(a, (halfwords,)) for a in arrays])


def events_of(counts: Reading) -> Events:
    """The places where something was counted."""
    (places,) = np.nonzero(counts.any(axis=0))
    columns = counts[:, places].T.tolist()
    return {place: Event(*column) for place, column in zip(places.tolist(), columns, strict=True)}
