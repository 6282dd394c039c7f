/* The example's port: what a program for a microcontroller has in the place of it. */
#ifndef PORT_H
#define PORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opens what a name stands for; the context of port_send and port_receive, or 0. */
void *port_open(const char *name);
int port_send(void *context, const uint8_t *bytes, size_t count);
int port_receive(void *context, uint8_t *bytes, size_t count, uint32_t ms);

#ifdef __cplusplus
}
#endif

#endif /* PORT_H */
