"""How a kernel loops: decisions as data, apart from what the kernel computes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """The choices for one kernel. Plain values, so that they can be stored and learned from.

    algorithm  name of one of the operator's algorithms; "" takes the operator's rule of thumb
    rows       output pixels (or rows of a matrix, or tiles) that a block computes together; 0: the
               rule
    columns    output channels that a block computes together; 0: the rule
    unroll     multiply-accumulate steps written out in the innermost loop; 0: the rule
    weights    how weights lie where there is a choice; "": the rule. Transformed ones: "flash", or
               "scratch", made from the small ones in flash at run time. Packed ones: "int8", or
               "int16", which takes twice the flash and may be faster
    """

    algorithm: str = ""
    rows: int = 0
    columns: int = 0
    unroll: int = 0
    weights: str = ""


DEFAULT = Schedule()
