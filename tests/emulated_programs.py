"""Small programs that the emulator's tests run: C for every core, random code for Thumb."""

import random
from dataclasses import replace

from tinyc.targets.firmware import Port, Program

HEADER = """\
#include <stdalign.h>
#include <stdint.h>
typedef struct {
  alignas(16) uint8_t bytes[4096];
} t_arena;
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]);
"""
START = """\
#include "t.h"
#include <string.h>
static uint32_t state = 12345u;
static uint32_t draw(void) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}
"""
BODIES = {
    "loops": """
static int32_t clamp(int32_t v) { return v > 127 ? 127 : v < -128 ? -128 : v; }
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  int8_t *w = (int8_t *)arena->bytes;
  for (int32_t i = 0; i < 1024; ++i) { w[i] = (int8_t)draw(); }
  for (int32_t o = 0; o < 4; ++o) {
    int32_t acc = (int32_t)x[o];
    for (int32_t i = 0; i < 250; ++i) { acc += w[i + o] * w[i + 7 * o]; }
    acc = clamp((int32_t)(((int64_t)acc * 0x5abcdef1) >> 40));
    y[o] = (uint32_t)acc;
  }
}
""",
    "divides": """
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  (void)arena;
  y[0] = y[1] = 1u;
  for (int32_t i = 1; i < 200; ++i) {
    const uint32_t a = draw(), b = draw() >> (i % 24);
    y[0] += a / (b + 1u) + a % (b | 3u);
    y[1] += (uint32_t)(((int32_t)a - 8000000) / ((int32_t)b - 1000 * i + 1));
  }
  y[2] = x[2];
#if defined(__ARM_FEATURE_IDIV)
  __asm volatile("udiv %0, %1, %0\\n sdiv %0, %1, %0" : "+r"(y[2]) : "r"(y[1]));
#endif
#if defined(__arm__)
  __asm volatile("dmb\\n mrs %0, PRIMASK" : "=r"(y[3]));
#endif
}
""",
    "pointers": """
typedef uint32_t (*step)(uint32_t);
static uint32_t twice(uint32_t v) { return 2u * v; }
static uint32_t plus(uint32_t v) { return v + 3u; }
static uint32_t swap(uint32_t v) { return __builtin_bswap32(v) ^ (v >> 3); }
static step const steps[3] = {twice, plus, swap};
static __attribute__((noinline)) uint32_t depth(uint32_t v, int32_t n) {
  volatile uint32_t frame[8] = {v};
  return n == 0 ? frame[0] : depth(v + 1u, n - 1) + frame[n % 8];
}
static __attribute__((noinline)) uint32_t choose(uint32_t v) {
  switch (v % 9u) {
    case 0: return v + 1u;
    case 1: return v * 5u;
    case 2: return v ^ 77u;
    case 3: return v << 3;
    case 4: return v >> 2;
    case 5: return ~v;
    case 6: return v - 9u;
    case 7: return twice(v);
    default: return v;
  }
}
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  uint32_t v = x[0] + 1u;
  for (int32_t i = 0; i < 300; ++i) { v = choose(steps[draw() % 3u](v)); }
  y[0] = v;
  y[1] = depth(v, 9);
  memcpy(arena->bytes + 1, arena->bytes + 100, 61u);
  memset(arena->bytes + 3, 5, 200u);
  y[2] = arena->bytes[1];
  y[3] = 0u;
}
""",
    "misaligned": """
typedef struct __attribute__((packed)) { uint8_t tag; uint32_t word; uint16_t half; } record;
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  record *r = (record *)arena->bytes;
  y[0] = x[0];
  for (int32_t i = 0; i < 100; ++i) {
    r[i].word = draw();
    r[i].half = (uint16_t)draw();
  }
  for (int32_t i = 0; i < 100; ++i) { y[0] += r[i].word + r[i].half; }
#if defined(__thumb2__)
  __asm volatile("ldr %0, [%1, #-1]" : "=r"(y[1]) : "r"(&arena->bytes[5]) : "memory");
#endif
  y[1] = y[2] = y[3] = 0u;
}
""",
    "floats": """
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  float *f = (float *)(void *)arena->bytes;
  float sum = (float)x[0], peak = 0.0f;
  double wide = 1.0;
  for (int32_t i = 0; i < 100; ++i) { f[i] = (float)(draw() & 1023u) * 0.125f - 9.0f; }
  for (int32_t i = 1; i < 100; ++i) {
    sum = __builtin_fmaf(f[i], f[i - 1], sum);
    peak = f[i] > peak ? f[i] : peak - f[i] / (peak + 1.5f);
    if (i % 10 == 0) { wide = wide * 1.25 + (double)sum; }
  }
  y[0] = (uint32_t)(int32_t)sum;
  y[1] = (uint32_t)(int32_t)(peak * 1000.0f);
  y[2] = (uint32_t)(int32_t)__builtin_sqrtf(peak + 2.0f);
  y[3] = (uint32_t)(wide > 2.0);
}
""",
    "simd": """
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {
  uint32_t *w = (uint32_t *)(void *)arena->bytes;
  for (int32_t i = 0; i < 64; ++i) { w[i] = draw() * 77u; }
  uint32_t a = x[0], b = 1u, low, high;
  for (int32_t i = 0; i < 63; ++i) {
    __asm volatile("sxtb16 %1, %3\\n sxtb16 %2, %3, ror #8\\n smlad %0, %1, %2, %0"
                   : "+r"(a), "=&r"(low), "=&r"(high) : "r"(w[i]));
    __asm volatile("smmlar %0, %1, %2, %0\\n ssat %0, #20, %0\\n pkhbt %0, %0, %1, lsl #16"
                   : "+r"(b) : "r"(w[i]), "r"(low));
    __asm volatile("cmp %0, %1\\n itete gt\\n addgt %0, %0, #1\\n suble %0, %0, %1, lsr #3\\n"
                   "movgt %1, #3\\n ldrle %1, [%2, #4]" : "+r"(a), "+r"(low) : "r"(&w[i]) : "cc");
    __asm volatile("ldrd %0, %1, [%2]\\n ldr %0, [%2], #0\\n str %0, [%2, %3]\\n nop\\n"
                   "ldm %2, {%0, %1}\\n ubfx %1, %0, #3, #7"
                   : "=&r"(low), "=&r"(high) : "r"(w), "r"(i & 4) : "memory");
    b += high;
  }
  y[0] = a;
  y[1] = b;
  y[2] = y[3] = low;
}
""",
}


def program(body: str) -> Program:
    sources = {"t.h": HEADER, "t.c": START + body}
    port = Port("x", "uint32_t", 16)
    return Program("t", sources, (port,), (replace(port, c_name="y"),), "caller")


# Registers: {d} {e} {a} {b} are any of r0 to r5, {d} is not {e}; r6 points to memory, r7 is 4,
# r8 is free; {s} {t} {u} are any of s0 to s15.
THUMB = """\
add {d}, {a}, {b}
adds {d}, {a}, {b}
add.w {d}, {a}, {b}
eor {d}, {a}, #77
add {d}, {a}, {b}, lsl #2
lsl.w {d}, {a}, #3
lsrs {d}, {a}, #1
movw {d}, #999
mul {d}, {a}, {b}
muls {d}, {a}, {d}
mla {d}, {a}, {b}, {e}
smlad {d}, {a}, {b}, {d}
smull {d}, {e}, {a}, {b}
smlal {d}, {e}, {a}, {b}
smulbt {d}, {a}, {b}
sxtb {d}, {a}
sxtab16 {d}, {a}, {b}
ubfx {d}, {a}, #3, #5
ssat {d}, #9, {a}
pkhbt {d}, {a}, {b}, lsl #16
rev {d}, {a}
clz {d}, {a}
bfi {d}, {a}, #2, #6
ldr {d}, [r6, #4]
ldr.w {d}, [r6, #8]
ldr {d}, [r6, r7]
ldrb {d}, [r6, #3]
ldrh {d}, [r6, #6]
ldrsb {d}, [r6, r7]
ldr {d}, [r6, #12]; ldr {e}, [r6, #20]
str {a}, [r6, #8]
str {a}, [r6, r7]
strb {a}, [r6, #9]
str.w {a}, [r6, #40]
ldrd {d}, {e}, [r6, #16]
strd {a}, {b}, [r6, #24]
ldm r6, {{r0, r2, r5}}
stm r6, {{r1, r3}}
push {{r0-r3}}; pop {{r0-r3}}
str {a}, [sp, #-4]!; pop {{r8}}
mov r8, r6; ldr {d}, [r8], #4; ldr {e}, [r8]
mov r8, r6; str {a}, [r8, #4]!
and r8, {a}, #60; ldr {d}, [r6, r8]
uxtb r8, {a}; ldrb {d}, [r6, r8]
mul r8, r7, r7; ldr {d}, [r6, r8]
mul r8, r7, r7; strb {a}, [r6, r8]
vmov s31, r7; vmov r8, s31; ldr {d}, [r6, r8]
ldrb r8, [r6]; ldrb {d}, [r6, r8]
nop
nop.w
adds {d}, #1; ldrd {d}, {e}, [r6]; add.w {a}, {a}, #1; mov.w {b}, #1; ldr.w {d}, [r6]
ldr {d}, [r6]; mov.w {a}, #2; ldr.w {b}, [r6]; add.w {e}, {b}, #1; strd {a}, {e}, [r6]
dmb
mrs {d}, APSR
ldr {d}, [r6]; nop
udiv {d}, {a}, {b}
sdiv {d}, {a}, {b}
cmp {a}, {b}; it lt; addlt {d}, {a}, {b}
movs {d}, {a}; ite eq; moveq {e}, #1; ldrne {e}, [r6]
cmp.w {a}, #5; it hi; nophi
cmp {a}, {b}; bne 1f; adds {d}, #1; 1:
cmp {a}, {b}; blt.w 1f; mul {d}, {a}, {b}; 1:
cbz {a}, 1f; subs {d}, {a}, #1; 1:
b 1f; nop; 1:
b.w 1f; nop; 1:
bl step
adr r8, 1f + 1; bx r8; .balign 4; 1:
adr r8, 1f; mov pc, r8; .balign 4; 1:
vldr {s}, [r6, #12]
vldr d7, [r6, #16]
vstr {s}, [r6, #44]
vstr d6, [r6, #48]
vldr {s}, [r6]; vldr {t}, [r6, #4]; vstr {u}, [r6, #8]
vldmia r6, {{s0-s3}}
vstmia r6, {{s4-s6}}
vpush {{d0-d1}}; vpop {{d2-d3}}
vmov {d}, {s}
vmov {s}, {a}
vadd.f32 {s}, {t}, {u}
vmul.f32 {s}, {t}, {u}
vfma.f32 {s}, {t}, {u}
vmla.f32 {s}, {t}, {u}; vmla.f32 {s}, {u}, {t}
vadd.f32 {s}, {t}, {u}; vmul.f32 {t}, {s}, {s}
vmla.f32 {s}, {t}, {u}; vadd.f32 {u}, {s}, {t}
vdiv.f32 {s}, {t}, {u}
vsqrt.f32 {s}, {t}
vdiv.f32 {s}, {t}, {u}; vmla.f32 {u}, {s}, {t}
vcvt.s32.f32 {s}, {t}
vmov {d}, {e}, d5
vcmp.f32 {s}, {t}; vmrs APSR_nzcv, FPSCR
vadd.f32 {s}, {t}, {u}; vstr {s}, [r6, #4]
""".splitlines()
FRAME = """
__asm(".syntax unified\\n .text\\n .balign 4\\n .thumb_func\\n step: adds r0, #1\\n bx lr\\n"
      ".global body\\n .type body, %function\\n .thumb_func\\n body: push {{r4-r11, lr}}\\n"
      "vpush {{s16-s31}}\\n mov r6, r0\\n movs r7, #4\\n {code}"
      "vpop {{s16-s31}}\\n pop {{r4-r11, pc}}\\n .size body, . - body");
void body(uint8_t *memory);
void t_run(t_arena *arena, const uint32_t x[4], uint32_t y[4]) {{
  for (int32_t i = 0; i < 512; ++i) {{ arena->bytes[i] = (uint8_t)(draw() & 60u); }}
  body(arena->bytes);
  y[0] = y[1] = y[2] = y[3] = x[0];
}}
"""


def random_thumb(seed: int) -> str:
    """Loops of random instructions: contexts that no compiler would think of."""
    draw = random.Random(seed)
    code = ""
    for _ in range(25):
        code += "mov r10, #3\\n 0: "
        for _ in range(draw.randint(4, 16)):
            d, e = draw.sample(range(6), 2)
            names = {"d": f"r{d}", "e": f"r{e}"}
            names |= {n: f"r{draw.randrange(6)}" for n in "ab"}
            names |= {n: f"s{draw.randrange(16)}" for n in "stu"}
            code += draw.choice(THUMB).format(**names) + "\\n "
        code += "subs r10, #1\\n bne 0b\\n "
    return FRAME.format(code=code)
