/* What a host does with the driver that the page shows. Arguments: the image, a file for what it finds, clips, steps. */
#include <stddef.h>
#include <string.h>
#include "bus.h"
#include "fdht_axi.h"
#include "fdht_axi_image.h"

enum { LOADED = 0, NOT_LOADED = -3, REFUSED = -4, LATE = -6 };
int load(const uint16_t *image);
void start(uint32_t steps);
int finish(uint32_t steps, uint32_t patience);
void keep_going(uint32_t steps);

static uint16_t image[FDHT_AXI_MODEL_WORDS], broken[FDHT_AXI_MODEL_WORDS];

static void expect(const char *what, int found, int expected)
{
    if (found != expected) {
        fprintf(stderr, "%s: %d instead of %d\n", what, found, expected);
        exit(1);
    }
}

static int classify(uint32_t clip, uint32_t steps)
{
    ask('f', clip, 0); /* its frames come */
    start(steps);
    return finish(steps, 100000);
}

int main(int count, char **arguments)
{
    FILE *file = fopen(arguments[1], "rb"), *found = fopen(arguments[2], "w");
    uint32_t clips = strtoul(arguments[3], 0, 10), steps = strtoul(arguments[4], 0, 10);
    if (count != 5 || fread(image, 2, FDHT_AXI_MODEL_WORDS, file) != FDHT_AXI_MODEL_WORDS)
        return 2;

    start(steps);
    expect("a run without an image", finish(steps, 0), REFUSED);
    memcpy(broken, image, sizeof image);
    broken[FDHT_AXI_MODEL_WORDS / 2] ^= 1;
    expect("a broken image", load(broken), NOT_LOADED);
    start(steps);
    expect("a run of a broken image", finish(steps, 0), REFUSED);
    expect("an image", load(image), LOADED);
    int first = classify(0, steps);
    fprintf(found, "%d\n", first);
    for (uint32_t clip = 1; clip < clips; clip++)
        fprintf(found, "%d\n", classify(clip, steps));

    /* No frames, and nonsense that is said to be right until some hangs: all is over after RESET. */
    start(steps);
    expect("a run without frames", finish(steps, 1000), LATE);
    int hung = 0;
    uint32_t random = 1;
    for (uint32_t turn = 0; turn < 10 && !hung; turn++) {
        put(FDHT_AXI_CONTROL, FDHT_AXI_CONTROL_RESET);
        for (uint32_t k = 0; k < 800; k++) {
            random = random * 1664525u + 1013904223u;
            put(FDHT_AXI_IMAGE, random >> 16);
        }
        put(FDHT_AXI_IMAGE_CHECK, get(FDHT_AXI_IMAGE_CRC));
        hung = classify(0, steps) == LATE;
        put(FDHT_AXI_CONTROL, FDHT_AXI_CONTROL_RESET);
        ask('c', 0, 0); /* what is left of the clip does not come */
        expect("busy after RESET", (int)(get(FDHT_AXI_STATUS) & FDHT_AXI_STATUS_BUSY), 0);
        expect("the image again", load(image), LOADED);
        expect("the first clip again", classify(0, steps), first);
    }
    expect("nonsense that hangs", hung, 1);

    keep_going(steps);
    ask('a', 0, 0); /* all clips come, and nobody asks for their results but the stream */
    uint32_t result = get(FDHT_AXI_RESULT);
    fprintf(found, "%u\n", (unsigned)(result & FDHT_AXI_RESULT_CLASS));
    expect("errors", get(FDHT_AXI_ERRORS), 0);
    fclose(found);
    return 0;
}
