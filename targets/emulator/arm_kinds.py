"""Thumb mnemonics by kind."""

from typing import Any

from capstone import arm

from tinyc.targets.timing.instruction import Kind

LOADS = "ldr ldrb ldrh ldrsb ldrsh ldrt ldrbt ldrht ldrsbt ldrsht ldrex ldrexb ldrexh lda ldab ldah"
STORES = "str strb strh strt strbt strht strex strexb strexh stl stlb stlh"
LONG_MULTIPLIES = (
    "smull umull smlal umlal umaal smlalbb smlalbt smlaltb smlaltt smlald smlaldx smlsld smlsldx"
)
ACCUMULATING = frozenset(
    "mla mls smlabb smlabt smlatb smlatt smlad smladx smlsd smlsdx smlawb smlawt "
    "smmla smmlar smmls smmlsr".split()
)
MULTIPLIES = "mul smulbb smulbt smultb smultt smuad smuadx smusd smusdx smulwb smulwt smmul smmulr"
DSP = (
    "sel usad8 usada8 pkhbt pkhtb ssat usat ssat16 usat16 qadd qsub qdadd qdsub "
    "clz rbit rev rev16 revsh bfi bfc sbfx ubfx"
)
DSP_PREFIXES = (
    *("sxt", "uxt", "sadd", "uadd", "qadd", "uqadd", "shadd", "uhadd", "ssub", "usub", "qsub"),
    *("uqsub", "shsub", "uhsub", "sasx", "ssax", "qasx", "qsax", "uasx", "usax"),
)
KINDS: dict[str, Kind] = {
    **dict.fromkeys(LOADS.split(), Kind.LOAD),
    **dict.fromkeys(STORES.split(), Kind.STORE),
    **dict.fromkeys(("ldrd", "ldrexd"), Kind.LOAD_PAIR),
    **dict.fromkeys(("strd", "strexd"), Kind.STORE_PAIR),
    **dict.fromkeys("ldm ldmdb ldmda ldmib pop".split(), Kind.LOAD_MANY),
    **dict.fromkeys("stm stmdb stmda stmib push".split(), Kind.STORE_MANY),
    **dict.fromkeys(("cbz", "cbnz"), Kind.COMPARE_BRANCH),
    **dict.fromkeys(("tbb", "tbh"), Kind.TABLE_BRANCH),
    **dict.fromkeys(("sdiv", "udiv"), Kind.DIVIDE),
    **dict.fromkeys((*MULTIPLIES.split(), *LONG_MULTIPLIES.split()), Kind.MULTIPLY),
    **dict.fromkeys(ACCUMULATING, Kind.MULTIPLY),
    **dict.fromkeys(DSP.split(), Kind.DSP),
    **dict.fromkeys(("nop", "hint", "nop.w"), Kind.NOP),
    **dict.fromkeys(
        "dsb dmb isb wfi wfe sev msr mrs svc bkpt cpsid cpsie cps".split(), Kind.SYSTEM
    ),
    **dict.fromkeys(("vdiv", "vsqrt"), Kind.FLOAT_DIVIDE),
    **dict.fromkeys("vmla vmls vnmla vnmls vfma vfms vfnma vfnms".split(), Kind.FLOAT_MAC),
    "bl": Kind.CALL,
    "blx": Kind.CALL_REGISTER,
    "bx": Kind.JUMP_REGISTER,
    "it": Kind.IF_THEN,
    "vldr": Kind.FLOAT_LOAD,
    "vstr": Kind.FLOAT_STORE,
    "vmov": Kind.FLOAT_MOVE,
}
PREFIXES: dict[tuple[str, ...], Kind] = {
    ("vldm", "vpop"): Kind.FLOAT_LOAD_MANY,
    ("vstm", "vpush"): Kind.FLOAT_STORE_MANY,
    ("v",): Kind.FLOAT,
    DSP_PREFIXES: Kind.DSP,
}


def kind_of(name: str, found: Any) -> Kind:
    """The kind of capstone's instruction `found` with the base mnemonic `name`."""
    if name == "b":
        return Kind.JUMP if found.cc in (arm.ARM_CC_INVALID, arm.ARM_CC_AL) else Kind.BRANCH
    if name in ("push", "pop") and found.size == 4 and len(found.operands) == 1:
        return Kind.LOAD if name == "pop" else Kind.STORE
    if name in KINDS:
        return KINDS[name]
    for prefixes, kind in PREFIXES.items():
        if name.startswith(prefixes):
            return kind
    return Kind.ALU
