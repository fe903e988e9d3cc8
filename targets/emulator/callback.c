/* The code hook of the emulator: counts what happens, prices nothing.
 *
 * Unicorn calls count_instruction before every instruction. It runs as position-independent code
 * without relocations, so that its bytes ship with tinyc and users need no C compiler:
 *
 *   cc -O2 -fPIC -ffreestanding -fno-jump-tables -fno-stack-protector -fcf-protection=none \
 *      -fno-asynchronous-unwind-tables -c callback.c
 *   objcopy -O binary -j .text callback.o callback_x86_64.bin
 *
 * counter.py says the same in Python, for hosts without either. native.py mirrors the structs. */
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* Executable addresses low <= a < high; `first` is the index of their first halfword in the
 * arrays of Counter. */
typedef struct {
  uint64_t low;
  uint64_t high;
  uint64_t first;
} Range;

enum { NOTHING, MEMORY, MOVES_STACK, IF_THEN, DIVIDE_UNSIGNED, DIVIDE_SIGNED };
enum { NEW, PLAIN, FIRST_SITE }; /* values of Counter.site: FIRST_SITE + i is sites[i] */
enum { RUNNING, TOO_MANY };      /* values of Counter.stop */

/* An instruction whose effect depends on registers. */
typedef struct {
  int32_t base;  /* Unicorn's register numbers; -1: none. For a divide: dividend, divisor */
  int32_t index;
  int32_t offset;
  uint8_t shift;
  uint8_t size; /* of a memory access, in bytes */
  uint8_t kind;
  uint8_t unused;
} Site;

typedef struct {
  /* settings */
  uint64_t begin; /* the region counted: from this address until `end` is reached */
  uint64_t end;
  uint64_t max_instructions;
  uint64_t is_arm;
  uint64_t ranges;
  Range range[4];
  int32_t stack_register;
  int32_t first_register; /* r0; r1 to r12 follow */
  int32_t link_register;
  int32_t divide_base;
  int32_t divide_bits;
  int32_t divide_smaller;
  int32_t divide_by_zero;
  int32_t max_sites;
  int (*read_register)(void *, int, void *);
  int (*stop_emulation)(void *);
  /* by halfword of code */
  uint16_t *code;
  uint8_t *size;      /* bytes of the instruction there */
  uint32_t *site;
  uint64_t *executed;
  uint64_t *taken_in;  /* arrived at by a taken branch */
  uint64_t *taken_out; /* left by a taken branch */
  uint64_t *skipped;   /* not executed in an IT block */
  uint64_t *extra;     /* cycles that depend on operands */
  Site *sites;
  /* state and totals */
  uint64_t active;
  uint64_t regions;
  uint64_t next; /* address after the instruction before; 0: unknown */
  uint64_t previous;
  uint64_t it_begin; /* the IT block being executed */
  uint64_t it_end;
  uint64_t stack_moved;
  uint64_t stack_begin;
  uint64_t stack_lowest;
  uint64_t instructions;
  uint64_t misaligned;
  uint64_t used_sites;
  uint64_t stop;
} Counter;

INLINE uint32_t read_word(void *unicorn, Counter *c, int32_t number) {
  uint64_t value = 0;
  c->read_register(unicorn, number, &value);
  return (uint32_t)value;
}

INLINE int32_t arm_register(Counter *c, uint32_t number) {
  if (number < 13u) {
    return c->first_register + (int32_t)number;
  }
  return (number == 14u) ? c->link_register : c->stack_register;
}

INLINE uint32_t halfwords(uint32_t first) { /* of a Thumb instruction, by its first halfword */
  return ((first >> 11) >= 29u) ? 2u : 1u;
}

INLINE void set_memory(Site *s, int32_t base, uint32_t size) {
  s->kind = MEMORY;
  s->base = base;
  s->size = (uint8_t)size;
}

/* Armv6-M ARM, A5.2 */
INLINE void classify_short(Counter *c, uint32_t h, Site *s) {
  const int32_t base = arm_register(c, (h >> 3) & 7u);
  const int32_t scale = (int32_t)((h >> 6) & 31u);
  const uint32_t operation = (h >> 9) & 7u;
  if ((h & 0xf000u) == 0x5000u) { /* register offset: words 0 and 4, halfwords 1, 5 and 7 */
    const uint32_t word = (operation & 3u) == 0u;
    const uint32_t half = operation == 1u || operation == 5u || operation == 7u;
    set_memory(s, base, word ? 4u : half ? 2u : 1u);
    s->index = arm_register(c, (h >> 6) & 7u);
  } else if ((h & 0xf000u) == 0x6000u) {
    set_memory(s, base, 4u);
    s->offset = scale * 4;
  } else if ((h & 0xf000u) == 0x8000u) {
    set_memory(s, base, 2u);
    s->offset = scale * 2;
  } else if ((h & 0xfe00u) == 0xb400u || (h & 0xff80u) == 0xb080u || (h & 0xff87u) == 0x4685u) {
    s->kind = MOVES_STACK; /* PUSH; SUB sp, #; MOV sp, */
  } else if ((h & 0xff00u) == 0xbf00u && (h & 15u) != 0u) {
    s->kind = IF_THEN;
  }
}

/* LDR, STR and their kin: Armv7-M ARM, A5.3.7 to A5.3.10 */
INLINE void classify_access(Counter *c, uint32_t h, uint32_t g, Site *s) {
  set_memory(s, arm_register(c, h & 15u), 1u << ((h >> 5) & 3u));
  if ((h & 0x80u) != 0u) {
    s->offset = (int32_t)(g & 0xfffu);
  } else if ((g & 0x800u) == 0u) {
    s->index = arm_register(c, g & 15u);
    s->shift = (uint8_t)((g >> 4) & 3u);
  } else if ((g & 0x400u) != 0u) { /* else post-indexed: the base alone */
    s->offset = ((g & 0x200u) != 0u) ? (int32_t)(g & 0xffu) : -(int32_t)(g & 0xffu);
  }
  if ((h & 15u) == 13u) {
    if ((h & 0x80u) == 0u && (g & 0x900u) == 0x900u) {
      s->kind = MOVES_STACK;
    } else if (s->index < 0) {
      s->kind = NOTHING; /* the stack pointer is aligned */
    }
  }
}

INLINE void classify_long(Counter *c, uint32_t h, uint32_t g, Site *s) {
  const int to_stack = ((g >> 8) & 15u) == 13u;
  const int data = (h & 0xfe00u) == 0xea00u || ((h & 0xf800u) == 0xf000u && (g & 0x8000u) == 0u);
  if ((h & 0xfe00u) == 0xf800u && (h & 15u) != 15u && (h & 0x60u) != 0x60u) {
    classify_access(c, h, g, s);
  } else if ((h & 0xffd0u) == 0xfb90u && (g & 0xf0f0u) == 0xf0f0u) {
    s->kind = ((h & 0x20u) != 0u) ? DIVIDE_UNSIGNED : DIVIDE_SIGNED;
    s->base = arm_register(c, h & 15u);
    s->index = arm_register(c, g & 15u);
  } else if (h == 0xe92du || (h & 0xffbfu) == 0xed2du || h == 0xe96du || (data && to_stack)) {
    s->kind = MOVES_STACK; /* STMDB sp!; VPUSH; STRD sp!; arithmetic into sp */
  }
}

INLINE void classify_riscv(uint32_t h, uint32_t size, Site *s) {
  const uint32_t operation = h & 0x7fu;
  const int arithmetic = operation == 0x13u || operation == 0x33u || operation == 0x17u ||
                         operation == 0x37u || operation == 0x03u;
  if (((h >> 7) & 31u) == 2u && (size == 2u ? (h & 3u) != 0u : arithmetic)) {
    s->kind = MOVES_STACK;
  }
}

INLINE void classify(Counter *c, uint64_t i, uint32_t size) {
  Site s = {-1, -1, 0, 0, 0, NOTHING, 0};
  if (!c->is_arm) {
    classify_riscv(c->code[i], size, &s);
  } else if (size == 2u) {
    classify_short(c, c->code[i], &s);
  } else {
    classify_long(c, c->code[i], c->code[i + 1], &s);
  }
  c->size[i] = (uint8_t)size;
  if (s.kind == NOTHING || (s.kind == MEMORY && s.size == 1u) ||
      c->used_sites >= (uint64_t)c->max_sites) {
    c->site[i] = PLAIN;
  } else {
    c->site[i] = FIRST_SITE + (uint32_t)c->used_sites;
    c->sites[c->used_sites++] = s;
  }
}

INLINE void enter_if_then(Counter *c, uint64_t address, uint64_t i) {
  uint32_t mask = c->code[i] & 15u;
  uint32_t length = 4;
  for (; (mask & 1u) == 0u; mask >>= 1) {
    --length;
  }
  uint64_t k = i + 1;
  while (length-- > 0u) {
    k += halfwords(c->code[k]);
  }
  c->it_begin = address + 2u;
  c->it_end = address + ((k - i) << 1);
}

INLINE void count_divide(void *unicorn, Counter *c, uint64_t i, const Site *s) {
  uint32_t dividend = read_word(unicorn, c, s->base);
  uint32_t divisor = read_word(unicorn, c, s->index);
  if (s->kind == DIVIDE_SIGNED) {
    dividend = ((int32_t)dividend < 0) ? 0u - dividend : dividend;
    divisor = ((int32_t)divisor < 0) ? 0u - divisor : divisor;
  }
  int32_t cycles = c->divide_smaller;
  if (divisor == 0u) {
    cycles = c->divide_by_zero;
  } else if (dividend >= divisor) {
    const int32_t bits = __builtin_clz(divisor) - __builtin_clz(dividend) + 1;
    cycles = c->divide_base + (bits + c->divide_bits - 1) / c->divide_bits;
  }
  c->extra[i] += (uint64_t)cycles;
}

INLINE void count_access(void *unicorn, Counter *c, uint64_t i, const Site *s) {
  uint32_t address = read_word(unicorn, c, s->base) + (uint32_t)s->offset;
  if (s->index >= 0) {
    address += read_word(unicorn, c, s->index) << s->shift;
  }
  if ((address & (s->size - 1u)) != 0u) {
    ++c->misaligned;
    c->extra[i] += (s->size == 4u && (address & 1u) != 0u) ? 2u : 1u;
  }
}

INLINE void count_edge(Counter *c, uint64_t address, uint64_t i) {
  const uint64_t expected = c->next;
  if (expected != 0u && address > expected && address <= c->it_end && expected >= c->it_begin) {
    uint64_t k = i - ((address - expected) >> 1); /* predicated off: Unicorn does not hook them */
    while (k < i) {
      const uint32_t length = halfwords(c->code[k]);
      ++c->skipped[k];
      c->size[k] = (uint8_t)(length * 2u);
      k += length;
    }
    return;
  }
  ++c->taken_in[i];
  if (expected != 0u) {
    ++c->taken_out[c->previous];
  }
  c->it_end = 0;
}

INLINE int find_halfword(const Counter *c, uint64_t address, uint64_t *i) {
  for (uint64_t k = 0; k < c->ranges; ++k) {
    if (address >= c->range[k].low && address < c->range[k].high) {
      *i = c->range[k].first + ((address - c->range[k].low) >> 1);
      return 1;
    }
  }
  return 0;
}

INLINE void update_region(void *unicorn, Counter *c, uint64_t address) {
  if (address == c->end && c->active) {
    c->active = 0;
    c->next = 0;
  }
  if (!c->active && address == c->begin) {
    c->active = 1;
    ++c->regions;
    c->next = 0;
    c->it_end = 0;
    c->stack_begin = read_word(unicorn, c, c->stack_register);
    if (c->stack_begin < c->stack_lowest) {
      c->stack_lowest = c->stack_begin;
    }
  }
}

/* The entry point stands first, at offset 0 of the binary. */
__attribute__((section(".text"))) void count_instruction(void *unicorn, uint64_t address,
                                                         uint32_t size, Counter *c) {
  uint64_t i = 0;
  update_region(unicorn, c, address);
  if (!c->active) {
    return;
  }
  if (!find_halfword(c, address, &i)) {
    c->next = 0;
    return;
  }
  ++c->instructions;
  if (c->stack_moved) {
    const uint64_t stack = read_word(unicorn, c, c->stack_register);
    c->stack_moved = 0;
    c->stack_lowest = (stack < c->stack_lowest) ? stack : c->stack_lowest;
  }
  if (address != c->next) {
    count_edge(c, address, i);
  }
  ++c->executed[i];
  c->previous = i;
  c->next = address + size;
  if (c->site[i] == NEW) {
    classify(c, i, size);
  }
  if (c->site[i] >= FIRST_SITE) {
    const Site *s = &c->sites[c->site[i] - FIRST_SITE];
    if (s->kind == MEMORY) {
      count_access(unicorn, c, i, s);
    } else if (s->kind == MOVES_STACK) {
      c->stack_moved = 1;
    } else if (s->kind == IF_THEN) {
      enter_if_then(c, address, i);
    } else {
      count_divide(unicorn, c, i, s);
    }
  }
  if (c->instructions >= c->max_instructions) {
    c->stop = TOO_MANY;
    c->stop_emulation(unicorn);
  }
}
