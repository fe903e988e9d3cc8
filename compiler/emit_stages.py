"""A stage that streams as a C function: a loop in which the last layer that has its rows runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tinyc.compiler.c_expressions import Expression, either, largest, smallest
from tinyc.compiler.ops.op import Window
from tinyc.compiler.program import Program
from tinyc.passes.stage_events import Need, Streamed
from tinyc.passes.stages import Stage
from tinyc.passes.storage import Step

Call = Callable[[int, str, str], str]  # step, the rows it begins and ends with -> the C call


@dataclass(frozen=True, slots=True, eq=False)
class StreamNames:
    """C expressions: of the pointer to each window, and of a layer, by its place.

    state  what its variables are members of, as in `state->`; "": they are the function's own
    """

    pointers: Mapping[str, str]
    layers: tuple[str, ...]
    state: str = ""

    def rows(self, place: int) -> str:
        """The variable with the rows that a layer has computed."""
        return f"{self.state}{self.layers[place]}_rows"

    def first(self, storage: str) -> str:
        """The variable with the first byte of a tensor that its window holds.

        Counted from the tensor's end where the stage runs upwards.
        """
        return f"{self.state}{self.pointers[storage]}_first"


def stream_lines(
    program: Program,
    stage: Stage,
    run: Streamed,
    names: StreamNames,
    call: Call,
    comment: Callable[[int], str],
) -> Iterator[str]:
    """The body of the function: counters, unless they are a state's, then the loop.

    Where the caller hands in the rows of the input, the loop ends when it needs the next one.

    call     the C call of a step for rows begin..end
    comment  which layers of the model a step is
    """
    printer = _Printer(program, stage, run, names)
    if not names.state:
        yield "  /* rows that are computed */"
        yield from (f"  int32_t {names.rows(place)} = 0;" for place in range(len(run.calls)))
        yield "  /* bytes that the windows begin with */"
        yield from (f"  int32_t {names.first(storage)} = 0;" for storage in printer.windows())
    last = run.events[-1].place
    yield f"  while ({names.rows(last)} < {run.calls[last].rows}) {{"
    if len(run.calls) == 1:
        yield f"    /* {comment(stage.steps[0])} */"
        yield from (f"    {line}" for line in printer.turn(0, call))
        yield "  }"
        return
    for number, place in enumerate(reversed(range(len(run.calls)))):
        if run.calls[place].pushed:
            yield "    } else {"
            yield f"      break; /* until the next of the {comment(stage.steps[place])} */"
        else:
            yield "    " + ("} else " if number else "") + printer.branch(place)
            yield f"      /* {comment(stage.steps[place])} */"
            yield from (f"      {line}" for line in printer.turn(place, call))
    yield "    }"
    yield "  }"


def state_fields(
    program: Program, stage: Stage, run: Streamed, names: StreamNames
) -> tuple[list[str], list[str]]:
    """The variables that a state holds: rows of the layers, and first bytes of the windows."""
    fields = replace(names, state="")
    windows = _Printer(program, stage, run, names).windows()
    return [fields.rows(p) for p in range(len(run.calls))], [fields.first(w) for w in windows]


def push_lines(
    program: Program, stage: Stage, run: Streamed, names: StreamNames, call: Call
) -> Iterator[str]:
    """The next row of the input comes into its window."""
    return _Printer(program, stage, run, names).turn(0, call)


@dataclass(frozen=True, slots=True, eq=False)
class _Printer:
    program: Program
    stage: Stage
    run: Streamed
    names: StreamNames

    def windows(self) -> list[str]:
        """The storages of the stage that slide."""
        plan = self.program.plan
        return [n for step in self.run.calls for n in step.writes if n in plan.windows]

    def branch(self, place: int) -> str:
        """`if (...) {`, or nothing to ask of the first layer."""
        conditions = [*self.conditions(place)]
        return f"if ({' && '.join(conditions)}) {{" if conditions else "{"

    def conditions(self, place: int) -> Iterator[str]:
        """What must hold before the next rows of a layer are computed."""
        step = self.run.calls[place]
        if place and place != self.run.events[-1].place:  # which the loop asks
            yield f"{self.names.rows(place)} < {step.rows}"
        if place in self.stage.waits:
            yield self.turn_of(place, self.stage.waits[place])
        for need in self.run.needs:
            if need.reader == place:
                yield self.condition(need)

    def turn_of(self, place: int, ahead: int) -> str:
        """That the layer which it waits for has computed the rows of its next call."""
        if self.run.units[place] == self.run.units[ahead]:
            return f"{self.names.rows(ahead)} > {self.names.rows(place)}"
        return f"{self.names.rows(ahead)} >= {self.end(place)}"

    def condition(self, need: Need) -> str:
        there = self.rows(need.writer)
        writer = self.run.calls[need.writer]
        if need.window is None or not need.writer_row_bytes:
            return f"{there} == {writer.rows}"
        wanted = self.end(need.reader) * need.window.stride + need.window.last(0)
        if need.window.last(self.run.calls[need.reader].rows) > need.rows:
            wanted = smallest(wanted, need.rows)
        mine, its = need.reader_row_bytes, need.writer_row_bytes
        if its % mine == 0:
            return f"{there * (its // mine)} >= {wanted}"
        return f"{there * its} >= {wanted * mine}"

    def rows(self, place: int) -> Expression:
        """The rows that a layer has computed."""
        return Expression(self.names.rows(place))

    def end(self, place: int) -> Expression:
        """The rows of a layer after its next call."""
        unit, rows = self.run.units[place], self.run.calls[place].rows
        after = self.rows(place) + min(unit, rows)
        return smallest(after, rows) if rows % unit else after

    def turn(self, place: int, call: Call) -> Iterator[str]:
        """The call of a layer, its counter, and the windows that slide with it."""
        step, rows = self.run.calls[place], self.rows(place)
        slides = self.program.plan.slides
        yield from (self.slide(n) for n in step.writes if slides.get(n) == "late")
        begin, end = rows, self.end(place)
        if self.stage.upwards:
            begin, end = step.rows - end, step.rows - rows
        yield call(self.stage.steps[place], str(begin), str(end))
        yield f"{rows} = {self.end(place)};"
        yield from (self.slide(n) for n in step.reads if slides.get(n) == "early")

    def slide(self, storage: str) -> str:
        """What is left of a tensor moves to the beginning of its window."""
        writer = next(p for p, step in enumerate(self.run.calls) if storage in step.writes)
        there = self.rows(writer) * self.run.row_bytes(writer, storage)
        if self.run.calls[writer].accumulates:
            there = Expression(str(self.run.bytes[storage]))
        oldest = [
            self.oldest(place, step, storage)
            for place, step in enumerate(self.run.calls)
            if storage in step.reads
        ]
        first, window = self.names.first(storage), f"(uint8_t *){self.names.pointers[storage]}"
        arguments = f"{first}, {smallest(*oldest)}, {there}, {self.program.target.alignment}"
        if self.stage.upwards:
            window = f"&({window})[{self.program.plan.windows[storage]}]"
            return f"{first} = tinyc_slide_up({window}, {arguments});"
        return f"{first} = tinyc_slide({window}, {arguments});"

    def oldest(self, place: int, step: Step, storage: str) -> Expression:
        """The first byte that the next rows of a layer read; all are gone after its last ones."""
        size, rows, windows = self.run.bytes[storage], step.input_rows.get(storage, 1), step.windows
        firsts = [self.first_row(place, window) for window in windows.get(storage, ())]
        first = smallest(*firsts) * (size // rows) if firsts else Expression("0")
        return either(f"{self.rows(place)} < {step.rows}", first, size)

    def first_row(self, place: int, window: Window) -> Expression:
        row = self.rows(place) * window.stride + window.first(0)
        return largest(row, 0) if window.before > 0 else row
