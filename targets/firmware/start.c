/* Start-up of the emulated board: memory, FPU, main, exit. For Arm Cortex-M and RISC-V.
 *
 * The exit is the semihosting call SYS_EXIT (Arm, "Semihosting for AArch32 and AArch64"), which
 * QEMU and debuggers know; tinyc's emulator stops at image_exit itself. */
#include <stddef.h>
#include <stdint.h>

extern uint32_t image_stack_top[];
extern const uint32_t image_data_source[];
extern uint32_t image_data_start[];
extern uint32_t image_data_end[];
extern uint32_t image_bss_start[];
extern uint32_t image_bss_end[];

int main(void);
_Noreturn void image_start(void);
_Noreturn void image_exit(int status);

#define SYS_EXIT 0x18
#define STOPPED_APPLICATION_EXIT 0x20026
#define STOPPED_RUNTIME_ERROR 0x20023

__attribute__((noinline, used)) _Noreturn void image_exit(int status) {
  const uint32_t reason = (status == 0) ? STOPPED_APPLICATION_EXIT : STOPPED_RUNTIME_ERROR;
#if defined(__arm__)
  register uint32_t r0 __asm("r0") = SYS_EXIT;
  register uint32_t r1 __asm("r1") = reason;
  __asm volatile("bkpt 0xab" : : "r"(r0), "r"(r1) : "memory");
#else
  register uint32_t a0 __asm("a0") = SYS_EXIT;
  register uint32_t a1 __asm("a1") = reason;
  /* the three instructions must be 4 bytes each and in one page */
  __asm volatile(
      ".balign 16\n .option push\n .option norvc\n"
      "slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
      :
      : "r"(a0), "r"(a1)
      : "memory");
#endif
  for (;;) {
    __asm volatile("");
  }
}

/* noinline: the FPU must be on before code that may use its registers is entered. */
static __attribute__((noinline)) _Noreturn void prepare_memory(void) {
  const uint32_t *source = image_data_source;
  for (uint32_t *to = image_data_start; to < image_data_end; ++to) {
    *to = *source++;
  }
  for (uint32_t *to = image_bss_start; to < image_bss_end; ++to) {
    *to = 0u;
  }
  image_exit(main());
}

#if defined(__arm__)

__attribute__((used)) _Noreturn void image_start(void) {
#if defined(__ARM_FP)
  volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u;
  *cpacr |= 0xFu << 20; /* full access to CP10 and CP11: the FPU (Armv7-M ARM, B3.2.20) */
  __asm volatile("dsb\n isb" : : : "memory");
#endif
  prepare_memory();
}

static _Noreturn void fault(void) {
  image_exit(1);
}

typedef void (*handler)(void);

/* Initial stack pointer, reset, and 14 exceptions that end the run. */
__attribute__((used, section(".vectors"))) const struct {
  uint32_t *stack;
  handler handlers[15];
} image_vectors = {image_stack_top,
                   {image_start, fault, fault, fault, fault, fault, fault, fault, fault, fault,
                    fault, fault, fault, fault, fault}};

#else

/* Stack, global and thread pointer; mstatus.FS = Initial where there is an FPU. */
__asm(
    ".section .start, \"ax\"\n"
    ".global image_start\n"
    ".type image_start, @function\n"
    "image_start:\n"
    ".option push\n .option norelax\n"
    "la gp, __global_pointer$\n"
    ".option pop\n"
    "la sp, image_stack_top\n"
    "la tp, image_tls\n"
#if defined(__riscv_flen)
    "li t0, 0x2000\n csrs mstatus, t0\n fscsr x0\n"
#endif
    "j image_start_c\n"
    ".size image_start, . - image_start\n"
    ".text\n");

__attribute__((used)) _Noreturn void image_start_c(void) {
  prepare_memory();
}

#endif
