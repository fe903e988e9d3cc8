"""The memories that a model may use, as a user writes them: `sram=64K,psram=8M:slow`."""

import re
from dataclasses import dataclass, replace

from tinyc.compiler.errors import CompileError
from tinyc.targets.target import Region, Target

SLOW = 8  # wait cycles of a memory that is called slow
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
FORM = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_]*)=(?P<size>[0-9]+)(?P<unit>[KM]?)"
    r"(@(?P<origin>0[xX][0-9a-fA-F]+))?(?P<options>(:[^:]*)*)"
)


@dataclass(frozen=True, slots=True)
class _Options:
    """What follows the size; None: as the target's own region says."""

    kind: str | None = None
    wait_cycles: int | None = None


def with_memory(target: Target, text: str) -> Target:
    """`target` with the regions of `text`: its RAM is replaced if any is named; its flash too.

    text  NAME=SIZE[@ADDRESS][:slow|:wait=CYCLES][:ram|:flash],...; "" changes nothing. What a
          region leaves open is taken from the target's region of that name. A name that the
          target does not know is RAM, unless `flash` is a part of it.

    Raises CompileError("wrong-option").
    """
    if not text:
        return target
    known = {region.name.casefold(): region for region in target.regions}
    regions: dict[str, Region] = {}
    for part in text.split(","):
        region = _region(part.strip(), known, text)
        if region.name.casefold() in regions:
            raise _wrong(f"two memories are named '{region.name}'", text)
        regions[region.name.casefold()] = region
    kinds = {region.kind for region in regions.values()}
    kept = (region for region in target.regions if region.kind not in kinds)
    return replace(target, regions=(*kept, *regions.values()))


def without_tables(target: Target) -> Target:
    """The same for a model whose tables are not in the flash: how slow that is does not matter."""
    return replace(
        target,
        regions=tuple(
            replace(region, wait_cycles=0) if region.kind == "flash" else region
            for region in target.regions
        ),
    )


def _region(part: str, known: dict[str, Region], text: str) -> Region:
    match = FORM.fullmatch(part)
    if match is None:
        raise _wrong(f"'{part}' is no memory", text)
    name, size = match["name"], int(match["size"]) * UNITS[match["unit"]]
    if not size:
        raise _wrong(f"'{name}' has no bytes", text)
    like = known.get(name.casefold())
    kind = "flash" if "flash" in name.casefold() else "ram"
    if like is None:
        like = Region(name, kind, None, size)
    options = _options(match["options"].split(":")[1:], text)
    return Region(
        like.name,
        options.kind or like.kind,
        int(match["origin"], 16) if match["origin"] else like.origin,
        size,
        like.wait_cycles if options.wait_cycles is None else options.wait_cycles,
    )


def _options(words: list[str], text: str) -> _Options:
    options = _Options()
    for word in words:
        if word == "slow":
            options = replace(options, wait_cycles=SLOW)
        elif re.fullmatch(r"wait=[0-9]+", word):
            options = replace(options, wait_cycles=int(word.removeprefix("wait=")))
        elif word in ("ram", "flash"):
            options = replace(options, kind=word)
        else:
            raise _wrong(f"there is no '{word}' of a memory", text)
    return options


def _wrong(message: str, text: str) -> CompileError:
    return CompileError(
        "wrong-option",
        message,
        f"--memory {text}",
        "write NAME=SIZE[@ADDRESS][:slow|:wait=CYCLES][:ram|:flash], with commas between memories, "
        "as in sram=64K,psram=8M:slow",
    )
