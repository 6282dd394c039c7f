/* Shows an engine the clips of example_clips.c, and holds what it says against the golden model.

   On a computer: cc -std=c99 example.c example_clips.c fdht.c fdht_image.c port_posix.c -o example
                  ./example /dev/ttyUSB1
   On a microcontroller: port.h on its UART or SPI, and main without arguments. */
#include <stdio.h>
#include <stdlib.h>
#include "example_clips.h"
#include "fdht.h"
#include "fdht_image.h"
#include "port.h"

#ifndef TIMEOUT_MS
#define TIMEOUT_MS 1000
#endif

static fdht_device device;
static int32_t logits[EXAMPLE_LOGITS];

static int failed(int error)
{
    fprintf(stderr, "error %d: %s\n", error, fdht_sentence(error));
    return EXIT_FAILURE;
}

/* The class of a clip, or after each of its steps: those after the first ones in one line. */
static int show(const example_clip *clip)
{
    const fdht_image *image = &fdht_model;
    if (!image->every_step)
        return fdht_run(&device, clip->words, clip->steps, 0, logits);
    int number = FDHT_OK;
    for (uint32_t k = 0; number >= 0 && k < clip->steps; k++) {
        const uint8_t *frame = (const uint8_t *)clip->words + k * image->inputs * image->x_bytes;
        number = fdht_step(&device, frame, k == 0, logits + k * image->classes);
        if (number >= 0)
            printf("%d ", number);
    }
    return number;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "say where the board is: %s /dev/ttyUSB1, or HOST:PORT\n", arguments[0]);
        return EXIT_FAILURE;
    }
    device.send = port_send;
    device.receive = port_receive;
    device.timeout_ms = TIMEOUT_MS;
    device.context = port_open(arguments[1]);
    if (device.context == 0)
        return failed(FDHT_LINE);
    int error = fdht_open(&device);
    if (!error)
        error = fdht_load(&device, &fdht_model);
    if (error)
        return failed(error);
    int wrong = 0;
    for (int k = 0; k < EXAMPLE_CLIPS; k++) {
        const example_clip *clip = &example_clips[k];
        int number = show(clip);
        if (number < 0)
            return failed(number);
        int differ = 0;
        for (uint32_t at = 0; at < clip->count; at++)
            differ += logits[at] != clip->logits[at];
        wrong += differ;
        printf("clip %d: class %d (%s), %d logits differ from the golden model\n", k, number,
               fdht_model_classes[number], differ);
    }
    error = fdht_ask_status(&device);
    if (error)
        return failed(error);
    printf("the last run took %lu cycles, %lu of them waits; %u damaged frames\n", (unsigned long)device.status.cycles,
           (unsigned long)device.status.stalls, device.status.errors);
    return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
