/* What a LiteX CPU does with the programs that the page shows. Arguments: the image, the clips in the image's order,
   a file for what it finds, clips, steps. */
#include <stddef.h>
#include "bus.h"
#include "fdht_axi.h"
#include "fdht_axi_image.h"

int load(const uint16_t *image);
int classify(uint32_t clip, uint32_t steps, uint32_t packet, uint32_t patience);

static uint16_t image[FDHT_AXI_MODEL_WORDS];

int main(int count, char **arguments)
{
    FILE *image_file = fopen(arguments[1], "rb"), *film = fopen(arguments[2], "rb"), *found = fopen(arguments[3], "w");
    uint32_t clips = strtoul(arguments[4], 0, 10), steps = strtoul(arguments[5], 0, 10);
    uint32_t bytes = FDHT_AXI_MODEL_FRAME_WORDS * FDHT_AXI_X_WORD_BYTES, stride = (bytes + 3) / 4 * 4;
    uint32_t packet = MAIN_RAM_BASE + MAIN_RAM_SIZE / 2;
    if (count != 6 || fread(image, 2, FDHT_AXI_MODEL_WORDS, image_file) != FDHT_AXI_MODEL_WORDS || load(image) != 0)
        return 2;
    for (uint32_t clip = 0; clip < clips; clip++) {
        for (uint32_t step = 0; step < steps; step++)
            for (uint32_t at = 0; at < stride; at += 4) {
                uint32_t word = 0xFFFFFFFFu; /* what is beyond the frame's end is not part of it */
                if (fread(&word, 1, bytes - at < 4 ? bytes - at : 4, film) == 0)
                    return 2;
                ask('w', MAIN_RAM_BASE + step * stride + at, word);
            }
        fprintf(found, "%d", classify(MAIN_RAM_BASE, steps, packet, 100000));
        for (uint32_t k = 0; k <= FDHT_AXI_MODEL_CLASSES; k++)
            fprintf(found, " %d", (int32_t)ask('r', packet + 4 * k, 0));
        fprintf(found, "\n");
    }
    fprintf(found, "%u\n", (unsigned)get(FDHT_AXI_ERRORS));
    fclose(found);
    return 0;
}
