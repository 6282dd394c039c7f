/* A port of Linux or macOS: a serial device, as /dev/ttyUSB1, or HOST:PORT of a board in simulation. */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#include "port.h"
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#ifndef BAUD
#define BAUD B3000000
#endif

static int file = -1;

static int open_serial(const char *name)
{
    struct termios options;
    int opened = open(name, O_RDWR | O_NOCTTY);
    if (opened < 0 || tcgetattr(opened, &options))
        return -1;
    cfmakeraw(&options);
    cfsetispeed(&options, BAUD);
    cfsetospeed(&options, BAUD);
    options.c_cflag |= CLOCAL | CREAD;
    if (tcsetattr(opened, TCSANOW, &options) || tcflush(opened, TCIOFLUSH))
        return -1;
    return opened;
}

static int open_socket(const char *name)
{
    char host[64];
    const char *colon = strrchr(name, ':');
    struct addrinfo hints, *found;
    if (colon == 0 || (size_t)(colon - name) >= sizeof host)
        return -1;
    memcpy(host, name, (size_t)(colon - name));
    host[colon - name] = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host, colon + 1, &hints, &found))
        return -1;
    int opened = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (opened >= 0 && connect(opened, found->ai_addr, found->ai_addrlen))
        opened = -1;
    freeaddrinfo(found);
    return opened;
}

void *port_open(const char *name)
{
    signal(SIGPIPE, SIG_IGN); /* a line that is closed is an error, not the end of the program */
    file = name[0] == '/' ? open_serial(name) : open_socket(name);
    return file < 0 ? 0 : &file;
}

int port_send(void *context, const uint8_t *bytes, size_t count)
{
    while (count) {
        ssize_t sent = write(*(int *)context, bytes, count);
        if (sent <= 0)
            return -1;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 0;
}

int port_receive(void *context, uint8_t *bytes, size_t count, uint32_t ms)
{
    struct pollfd wanted = {*(int *)context, POLLIN, 0};
    int some = poll(&wanted, 1, (int)ms);
    if (some <= 0)
        return some;
    ssize_t got = read(*(int *)context, bytes, count);
    return got > 0 ? (int)got : -1;
}
