/* string.h - the part that generated code uses, for compilers without a C library. */
#ifndef TINYC_STRING_H
#define TINYC_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

#endif /* TINYC_STRING_H */
