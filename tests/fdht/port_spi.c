/* A port for the exported example: SPI by fdht_spi_send and fdht_spi_receive. What a controller exchanges byte by byte
   passes through HOST:PORT, whose other end clocks a board's SPI pins in simulation. */
#define port_open socket_open
#define port_send socket_send
#define port_receive socket_receive
#include "port_posix.c"
#undef port_open
#undef port_send
#undef port_receive
#include "fdht.h"

static fdht_spi spi;
static uint8_t said[600] = {FDHT_FLAG}, heard = FDHT_FLAG;
static size_t count = 1;

/* The other end leaves out flags between frames, and fills gaps with them. So a frame is sent at once, when its last
   byte is said, and what comes inside a frame is waited for: at pins there are no gaps. */
static uint8_t exchange(void *context, uint8_t byte)
{
    if (byte != FDHT_FLAG || count > 1) {
        said[count++] = byte;
        if (byte == FDHT_FLAG) {
            socket_send(context, said, count);
            count = 1;
        }
        heard = FDHT_FLAG;
    } else if (socket_receive(context, &heard, 1, heard == FDHT_FLAG ? 1 : 1000) != 1)
        heard = FDHT_FLAG;
    return heard;
}

void *port_open(const char *name)
{
    spi.exchange = exchange;
    spi.context = socket_open(name);
    spi.bytes_per_ms = 1;
    return spi.context ? &spi : 0;
}

int port_send(void *context, const uint8_t *bytes, size_t count)
{
    return fdht_spi_send(context, bytes, count);
}

int port_receive(void *context, uint8_t *bytes, size_t count, uint32_t ms)
{
    return fdht_spi_receive(context, bytes, count, ms);
}
