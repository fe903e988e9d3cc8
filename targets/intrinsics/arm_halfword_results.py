"""How the sums of int16 activations are finished: results of 8 or of 16 bits."""

from dataclasses import dataclass

from tinyc.targets.intrinsics.arm_assembly import bounds_suffix, requantized


@dataclass(frozen=True, slots=True)
class Results:
    """How sums are finished.

    dtype      "int8" or "int16"
    low, high  bounds; of int16 the lower one is the type's, or 0
    """

    dtype: str
    low: int
    high: int

    @property
    def suffix(self) -> str:
        if self.dtype == "int8":
            return f"int8{bounds_suffix(self.low, self.high)}"
        return f"int16{'_relu' if self.low == 0 else ''}{f'_to_{self.high}' * self.is_limited}"

    @property
    def is_limited(self) -> bool:
        """Whether results of 16 bits have an upper bound of their own."""
        return self.dtype == "int16" and self.high < (1 << 15) - 1

    @property
    def are_known(self) -> bool:
        """Whether there is code for these bounds."""
        return self.dtype == "int8" or (self.low in (-(1 << 15), 0) and self.high >= 0)

    @property
    def step(self) -> int:
        """Bytes of a result."""
        return 1 if self.dtype == "int8" else 2

    @property
    def end_bytes(self) -> int:
        """Of a channel behind its weights."""
        return 4 * self.step

    def c_value(self, multipliers: str) -> str:
        """C statements: `value` from `acc[n]`."""
        return (FINISH_8 if self.dtype == "int8" else FINISH_16).format(multipliers=multipliers)

    def zero_point(self, register: str) -> list[str]:
        """The zero point in `register` becomes what `finished` wants."""
        if self.dtype == "int8":
            return []
        return [f"lsl.w {register}, {register}, #1", f"add.w {register}, {register}, #1"]

    def limit(self, register: str) -> list[str]:
        """The upper bound in `register`, where there is one."""
        return [f"movw {register}, #{self.high}"] if self.is_limited else []

    def finished(
        self, acc: str, multiplier: str, shift: str, zero_point: str, limit: str
    ) -> list[str]:
        """The sum in register `acc` becomes the result; `shift` and `limit` are of 16 bits only."""
        if self.dtype == "int8":
            return requantized(acc, multiplier, zero_point, self.low, self.high)
        lines = [f"smmul {acc}, {acc}, {multiplier}", f"asr.w {acc}, {acc}, {shift}"]
        lines += [f"add.w {acc}, {acc}, {zero_point}", self.saturated(acc)]
        return lines + (self.limited(acc, limit) if self.is_limited else [])

    def saturated(self, acc: str) -> str:
        """The last step of 16 bits: half of it, in range."""
        saturate = "usat {0}, #15" if self.low == 0 else "ssat {0}, #16"
        return f"{saturate.format(acc)}, {acc}, asr #1"

    def limited(self, acc: str, limit: str) -> list[str]:
        """`acc`, at most the upper bound in register `limit`."""
        return [f"cmp.w {acc}, {limit}", "it gt", f"movgt.w {acc}, {limit}"]


FINISH_8 = """\
        const int32_t m = (int32_t)tinyc_load_word(&{multipliers}[4 * n]);
        const int32_t value = tinyc_requantize(acc[n], m, zero_point);
"""


FINISH_16 = """\
        const int32_t m = (int32_t)tinyc_load_word(&{multipliers}[8 * n]);
        const int32_t r = 33 + (int32_t)tinyc_load_word(&{multipliers}[(8 * n) + 4]);
        const int32_t value = tinyc_requantize_wide(acc[n], m, r, zero_point);
"""
