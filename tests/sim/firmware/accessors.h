/* How LiteX's csr.h reaches its registers, here as bus.h does. */
#ifndef ACCESSORS_H
#define ACCESSORS_H
#include <stdint.h>
#include <generated/mem.h>
#define BLOCK FDHT_AXI_BASE
#include "bus.h"

static inline void csr_write_simple(unsigned long value, unsigned long at) { ask('w', (uint32_t)at, (uint32_t)value); }
static inline unsigned long csr_read_simple(unsigned long at) { return ask('r', (uint32_t)at, 0); }
#endif
