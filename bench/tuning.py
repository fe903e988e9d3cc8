"""How well the tuner searches, against measuring a whole space and against chance.

Every schedule of ten workloads is measured once (and kept in .cache); the search and a random one
then look their trials up.
"""

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product

from bench.models import BY_NAME, ROOT
from bench.tables import table
from tinyc.autotune.cost_model import CostModel
from tinyc.autotune.features import features
from tinyc.autotune.measure import measure
from tinyc.autotune.records import Record, append_records, read_records
from tinyc.autotune.schedule import Schedule
from tinyc.autotune.search import BATCH, Space, next_batch
from tinyc.compiler.ops import OPS
from tinyc.compiler.ops.op import Call, call_of, schedules_of
from tinyc.compiler.ops.workload import workload
from tinyc.compiler.pipeline import read_graph
from tinyc.targets import Target, load_target

RESNET, VWW, KWS = "resnet8_cifar10_int8_qdq", "mobilenetv1_vww_int8_qdq", "dscnn_kws_int8_qdq"
CASES = (  # core, model, number of the node with a choice; layers of less than 600,000 MACs
    ("cortex-m4", KWS, 2),
    ("cortex-m4", VWW, 12),
    ("cortex-m4", VWW, 14),
    ("cortex-m0plus", KWS, 0),
    ("cortex-m0plus", VWW, 12),
    ("cortex-m3", KWS, 2),
    ("cortex-m3", VWW, 8),
    ("cortex-m3", RESNET, 6),
    ("rv32imc", VWW, 4),
    ("rv32imc", VWW, 12),
)
PLAIN_BLOCKS = (range(1, 11), range(1, 11), (1, 2, 3, 4, 6, 8, 12, 16))  # rows, columns, unroll
MOST_WRITTEN_OUT = 192  # products in the loop of a block: gcc takes a second for more
POINTS = 500
TRIALS = 60
NEAR = 1.03  # times the best of the space
CHANCES = 100  # random searches
FOLDER = ROOT / ".cache" / "exhaustive"


@dataclass(frozen=True, slots=True)
class Found:
    """The best of a space, and how near to it searches came in TRIALS trials.

    ratio         of the search's best to that of the space
    random_ratio  the median of random searches
    random_share  of the random searches that came near
    """

    core: str
    workload: str
    points: int
    best: int
    ratio: float
    random_ratio: float
    random_share: float


def space_of(call: Call, target: Target) -> tuple[Schedule, ...]:
    """Its schedules and blocks of plain C, POINTS in all, the same every time."""
    own = schedules_of(OPS[call.node.op].algorithms, call, target)
    blocks = [b for b in product(*PLAIN_BLOCKS) if math.prod(b) <= MOST_WRITTEN_OUT]
    more = [s for s in (Schedule("gemm", *block) for block in blocks) if s not in own]
    random.Random(0).shuffle(more)
    return (*own, *more[: max(POINTS - len(own), 0)])


def measure_all(
    call: Call, target: Target, schedules: Sequence[Schedule], pool: Executor
) -> dict[Schedule, int]:
    """Cycles of every schedule; what an earlier run measured is not measured again."""
    file = FOLDER / f"{target.name} {call.node.op} {hash_of(workload(call))}.jsonl"
    known = {r.schedule: r.cycles for r in read_records(file)}
    open_ = [s for s in schedules if s not in known]
    batches = [open_[i : i + BATCH] for i in range(0, len(open_), BATCH)]
    count = len(batches)
    for results in pool.map(measure, [call] * count, [target] * count, batches):
        records = [r for r in results if isinstance(r, Record)]
        append_records(file, records)
        known.update({r.schedule: r.cycles for r in records})
    return {s: known[s] for s in schedules if s in known}


def hash_of(text: str) -> str:
    return f"{random.Random(text).getrandbits(48):012x}"


def search(call: Call, target: Target, cycles: dict[Schedule, int]) -> int:
    """The best that the tuner's search finds, knowing nothing else."""
    schedules = tuple(cycles)
    rows = tuple(features(call, target, s) for s in schedules)
    space, model = Space(workload(call), schedules, rows), CostModel()
    by_schedule = dict(zip(schedules, rows, strict=True))
    measured: dict[Schedule, int] = {}
    while len(measured) < TRIALS:
        for schedule in next_batch(space, measured, model, min(BATCH, TRIALS - len(measured))):
            measured[schedule] = cycles[schedule]
            model.add(space.workload, by_schedule[schedule], cycles[schedule])
    return min(measured.values())


def find(core: str, model: str, number: int, pool: Executor) -> Found:
    target = load_target(core)
    graph = read_graph(BY_NAME[model].path, target)
    calls = [call_of(graph, n) for n in graph.nodes if OPS[n.op].algorithms]
    call = calls[number]
    cycles = measure_all(call, target, space_of(call, target), pool)
    best = min(cycles.values())
    chance = sorted(
        min(random.Random(seed).sample(list(cycles.values()), TRIALS)) / best
        for seed in range(CHANCES)
    )
    return Found(
        core,
        workload(call),
        len(cycles),
        best,
        search(call, target, cycles) / best,
        chance[CHANCES // 2],
        sum(ratio <= NEAR for ratio in chance) / CHANCES,
    )


def tuning_section(pool: Executor) -> Iterator[str]:
    yield f"\n## The tuner's search: {TRIALS} trials against whole spaces, cycles\n"
    found = [find(*case, pool) for case in CASES]
    yield table(
        "core | workload | points | best | tuner / best | random / best (median of "
        f"{CHANCES}) | random searches within 3 %",
        [
            (f.core, f"`{f.workload}`", f.points, f"{f.best:,}", f"{f.ratio:.3f}",
             f"{f.random_ratio:.3f}", f"{f.random_share:.0%}")
            for f in found
        ],
    )  # fmt: skip
    near = sum(f.ratio <= NEAR for f in found)
    chance = sum(f.random_ratio <= NEAR for f in found)
    yield f"\nWithin 3 % of the best: the tuner {near} of {len(found)}, random {chance}."
