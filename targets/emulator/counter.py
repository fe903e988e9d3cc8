"""The code hook in Python: what callback.c does, a hundred times slower, on any host."""

from collections.abc import Callable

from tinyc.targets.emulator.native import Counter

MEMORY, MOVES_STACK, IF_THEN, DIVIDE_UNSIGNED, DIVIDE_SIGNED = range(1, 6)
NEW, PLAIN, FIRST_SITE = range(3)
TOO_MANY = 1
WORD = 0xFFFFFFFF

ReadRegister = Callable[[int], int]
Found = tuple[int, int, int, int, int, int]  # kind, base, index, offset, shift, size


def count_instruction(
    c: Counter, address: int, size: int, read: ReadRegister, stop: Callable[[], None]
) -> None:
    """Count one instruction that is about to execute."""
    _update_region(c, address, read)
    if not c.active:
        return
    i = _find_halfword(c, address)
    if i is None:
        c.next = 0
        return
    c.instructions += 1
    if c.stack_moved:
        c.stack_moved = 0
        c.stack_lowest = min(c.stack_lowest, read(c.stack_register))
    if address != c.next:
        _count_edge(c, address, i)
    c.executed[i] += 1
    c.previous = i
    c.next = address + size
    if c.site[i] == NEW:
        _classify(c, i, size)
    if c.site[i] >= FIRST_SITE:
        _count_site(c, address, i, read)
    if c.instructions >= c.max_instructions:
        c.stop = TOO_MANY
        stop()


def _update_region(c: Counter, address: int, read: ReadRegister) -> None:
    if c.active and address == c.end:
        c.active = 0
        c.next = 0
    if not c.active and address == c.begin:
        c.active = 1
        c.regions += 1
        c.next = 0
        c.it_end = 0
        c.stack_begin = read(c.stack_register)
        c.stack_lowest = min(c.stack_lowest, c.stack_begin)


def _find_halfword(c: Counter, address: int) -> int | None:
    for k in range(c.ranges):
        place = c.range[k]
        if place.low <= address < place.high:
            return int(place.first + (address - place.low) // 2)
    return None


def _count_edge(c: Counter, address: int, i: int) -> None:
    expected = c.next
    if expected and expected < address <= c.it_end and expected >= c.it_begin:
        k = i - (address - expected) // 2
        while k < i:
            length = _halfwords(c.code[k])
            c.skipped[k] += 1
            c.size[k] = 2 * length
            k += length
        return
    c.taken_in[i] += 1
    if expected:
        c.taken_out[c.previous] += 1
    c.it_end = 0


def _halfwords(first: int) -> int:
    return 2 if first >> 11 >= 29 else 1


def _classify(c: Counter, i: int, size: int) -> None:
    half = c.code[i]
    if not c.is_arm:
        found = _classify_riscv(half, size)
    elif size == 2:
        found = _classify_short(c, half)
    else:
        found = _classify_long(c, half, c.code[i + 1])
    c.size[i] = size
    is_byte = found is not None and found[0] == MEMORY and found[5] == 1
    if found is None or is_byte or c.used_sites >= c.max_sites:
        c.site[i] = PLAIN
        return
    site = c.sites[c.used_sites]
    site.kind, site.base, site.index, site.offset, site.shift, site.size = found
    c.site[i] = FIRST_SITE + c.used_sites
    c.used_sites += 1


def _register(c: Counter, number: int) -> int:
    if number < 13:
        return int(c.first_register + number)
    return int(c.link_register if number == 14 else c.stack_register)


def _plain(kind: int) -> Found:
    return kind, -1, -1, 0, 0, 0


def _classify_short(c: Counter, half: int) -> Found | None:
    base, scale = _register(c, half >> 3 & 7), half >> 6 & 31
    match half >> 12:
        case 5:
            size = {0: 4, 4: 4, 1: 2, 5: 2, 7: 2}.get(half >> 9 & 7, 1)
            return MEMORY, base, _register(c, half >> 6 & 7), 0, 0, size
        case 6:
            return MEMORY, base, -1, 4 * scale, 0, 4
        case 8:
            return MEMORY, base, -1, 2 * scale, 0, 2
    if half & 0xFE00 == 0xB400 or half & 0xFF80 == 0xB080 or half & 0xFF87 == 0x4685:
        return _plain(MOVES_STACK)
    return _plain(IF_THEN) if half & 0xFF00 == 0xBF00 and half & 15 else None


def _classify_long(c: Counter, half: int, second: int) -> Found | None:
    if half & 0xFE00 == 0xF800 and half & 15 != 15 and half & 0x60 != 0x60:
        return _classify_access(c, half, second)
    if half & 0xFFD0 == 0xFB90 and second & 0xF0F0 == 0xF0F0:
        kind = DIVIDE_UNSIGNED if half & 0x20 else DIVIDE_SIGNED
        return kind, _register(c, half & 15), _register(c, second & 15), 0, 0, 0
    is_data = half & 0xFE00 == 0xEA00 or (half & 0xF800 == 0xF000 and not second & 0x8000)
    stores = half in (0xE92D, 0xE96D) or half & 0xFFBF == 0xED2D
    to_stack = stores or (is_data and second >> 8 & 15 == 13)
    return _plain(MOVES_STACK) if to_stack else None


def _classify_access(c: Counter, half: int, second: int) -> Found | None:
    size, base = 1 << (half >> 5 & 3), half & 15
    index, offset, shift = -1, 0, 0
    if half & 0x80:
        offset = second & 0xFFF
    elif not second & 0x800:
        index, shift = _register(c, second & 15), second >> 4 & 3
    elif second & 0x400:
        offset = second & 0xFF if second & 0x200 else -(second & 0xFF)
    if base == 13 and not half & 0x80 and second & 0x900 == 0x900:
        return _plain(MOVES_STACK)
    if base == 13 and index < 0:
        return None
    return MEMORY, _register(c, base), index, offset, shift, size


def _classify_riscv(half: int, size: int) -> Found | None:
    arithmetic = half & 0x7F in (0x13, 0x33, 0x17, 0x37, 0x03)
    writes = half & 3 != 0 if size == 2 else arithmetic
    return _plain(MOVES_STACK) if half >> 7 & 31 == 2 and writes else None


def _count_site(c: Counter, address: int, i: int, read: ReadRegister) -> None:
    site = c.sites[c.site[i] - FIRST_SITE]
    if site.kind == MEMORY:
        place = read(site.base) + site.offset
        if site.index >= 0:
            place += read(site.index) << site.shift
        if place & WORD & (site.size - 1):
            c.misaligned += 1
            c.extra[i] += 2 if site.size == 4 and place & 1 else 1
    elif site.kind == MOVES_STACK:
        c.stack_moved = 1
    elif site.kind == IF_THEN:
        _enter_if_then(c, address, i)
    else:
        signed = site.kind == DIVIDE_SIGNED
        c.extra[i] += _divide_cycles(c, read(site.base), read(site.index), signed)


def _enter_if_then(c: Counter, address: int, i: int) -> None:
    mask = c.code[i] & 15
    length = 4 - ((mask & -mask).bit_length() - 1)
    k = i + 1
    for _ in range(length):
        k += _halfwords(c.code[k])
    c.it_begin = address + 2
    c.it_end = address + 2 * (k - i)


def _divide_cycles(c: Counter, dividend: int, divisor: int, signed: bool) -> int:
    if signed:
        dividend, divisor = (-x & WORD if x >> 31 else x for x in (dividend, divisor))
    if divisor == 0:
        return int(c.divide_by_zero)
    if dividend < divisor:
        return int(c.divide_smaller)
    bits = dividend.bit_length() - divisor.bit_length() + 1
    return int(c.divide_base + -(-bits // c.divide_bits))
