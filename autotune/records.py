"""What was measured, one JSON object a line, and where such files lie."""

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from tinyc.autotune.schedule import Schedule
from tinyc.compiler.errors import CompileError
from tinyc.targets import Target
from tinyc.targets.timing.tables import timing_text

SLACK, SLACK_BYTES = 0.02, 128  # records that differ less are one
PROJECT_FILE = "tinyc-records.jsonl"  # in the folder where tinyc is called
USER_FILE = Path("tinyc") / "records.jsonl"  # in the user's data folder


@dataclass(frozen=True, slots=True)
class Record:
    """One schedule of one workload on one core, measured.

    core           what was measured on: `core_of` the target
    compiler       name and version
    kernel         hash of the kernel's C: another one is another kernel
    workload       as `ops.workload` writes it
    cycles         zero wait states
    tables_bytes   constants in flash
    own_bytes      code of the kernel's own function
    blocks         code of the functions that it calls and others may call too: name -> bytes
    scratch_bytes  working memory in the arena
    arena_bytes    the arena of this call alone: its activations, overlapping where they may, and
                   its scratch
    """

    core: str
    compiler: str
    kernel: str
    workload: str
    schedule: Schedule
    cycles: int
    tables_bytes: int
    own_bytes: int
    blocks: Mapping[str, int]
    scratch_bytes: int
    arena_bytes: int

    @property
    def flash_bytes(self) -> int:
        """All that this kernel needs when it is alone."""
        return self.tables_bytes + self.own_bytes + sum(self.blocks.values())

    def to_json(self) -> str:
        fields = asdict(self)
        defaults = asdict(Schedule())
        fields["schedule"] = {k: v for k, v in fields["schedule"].items() if v != defaults[k]}
        return json.dumps(fields, separators=(",", ":"))


def core_of(target: Target) -> str:
    """What measurements depend on: the instructions, their timing, and the flags of gcc.

    Two targets that differ in their memories only are one core. "armv7e-m cortex-m4 0123456789ab"
    """
    timing = tomllib.loads(timing_text(target.timing)) if target.timing else {}
    settings = (sorted(target.features), target.cflags, sorted(timing.items(), key=str))
    name = Path(target.timing).stem
    return f"{target.isa} {name} {sha256(repr(settings).encode()).hexdigest()[:12]}"


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file; none when there is no such file.

    Raises CompileError("bad-records") when a line is not a record.
    """
    if path.exists() and not path.is_file():
        raise CompileError(
            "bad-records", "records are a file", f"{path}", "name a file of your own by --records"
        )
    try:
        text = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, 0, str(error)) from error
    for number, line in enumerate(text.splitlines(), 1):
        yield _parsed(line, path, number)


def _parsed(line: str, path: Path, number: int) -> Record:
    try:
        fields = json.loads(line)
        return Record(**{**fields, "schedule": Schedule(**fields["schedule"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _bad(path, number, str(error)) from error


def _bad(path: Path, number: int, what: str) -> CompileError:
    return CompileError(
        "bad-records",
        f"the line is not a record of `tinyc tune`: {what}",
        f"{path}, line {number}",
        "remove the line, or the file, and tune again",
    )


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Add lines to a file; what is there stays.

    Raises CompileError("cannot-write").
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{record.to_json()}\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CompileError(
            "cannot-write",
            f"the records cannot be written: {error.strerror or error}",
            f"file {path}",
            "choose another file with --records, or make room on the disk",
        ) from error


def user_file() -> Path:
    """Where `tinyc tune` writes by default (XDG Base Directory Specification)."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / USER_FILE


def package_file(core: str) -> Path:
    """The records of a core that come with tinyc; there may be none."""
    name = "-".join(core.split()[:-1])
    return Path(str(files("tinyc.autotune"))) / "measured" / f"{name}.jsonl"


def known_records(target: Target) -> tuple[Record, ...]:
    """What is known of the core of `target`: the package's records, the user's, the project's.

    The same schedule measured again counts once: the last one.
    """
    core = core_of(target)
    latest: dict[tuple[str, Schedule], Record] = {}
    for path in (package_file(core), user_file(), Path(PROJECT_FILE)):
        for record in read_records(path):
            if record.core == core:
                latest[record.workload, record.schedule] = record
    return tuple(latest.values())


def useful(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records that no other one of the same workload beats in cycles, flash and arena.

    Tables, code of its own and shared blocks count apart: whether blocks are shared is not known.
    """
    by_workload: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.workload, r.cycles, r.flash_bytes)):
        kept = by_workload.setdefault(record.workload, [])
        if not any(_beats(other, record) for other in kept):
            kept.append(record)
    return tuple(record for kept in by_workload.values() for record in kept)


def _beats(a: Record, b: Record) -> bool:
    """`a` is as good as `b`, but for what nobody would notice."""
    return (
        a.cycles <= b.cycles * (1 + SLACK)
        and a.tables_bytes <= b.tables_bytes * (1 + SLACK)
        and a.own_bytes <= b.own_bytes + SLACK_BYTES
        and (a.blocks.keys() <= b.blocks.keys() or a.flash_bytes <= b.flash_bytes)
        and a.arena_bytes <= b.arena_bytes + SLACK_BYTES
        and a.scratch_bytes <= b.scratch_bytes + SLACK_BYTES
    )
