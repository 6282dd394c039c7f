/* Instead of the page's: every access is asked of the simulation on standard output and answered on standard input. */
#ifndef BUS_H
#define BUS_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef BLOCK
#define BLOCK 0u
#endif

static inline uint32_t ask(char what, uint32_t at, uint32_t value)
{
    unsigned answer;
    printf("%c %x %x\n", what, (unsigned)at, (unsigned)value);
    fflush(stdout);
    if (scanf("%x", &answer) != 1)
        exit(3);
    return answer;
}

static inline uint32_t get(uint32_t offset) { return ask('r', BLOCK + offset, 0); }
static inline void put(uint32_t offset, uint32_t value) { ask('w', BLOCK + offset, value); }
#endif
