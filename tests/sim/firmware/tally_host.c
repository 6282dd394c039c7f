/* What a host does with the page's tally.c: after every clip, words that each stage has clipped, and its steps. Arguments:
   the image, a file for what it finds, clips, steps. */
#include "bus.h"
#include "fdht_axi.h"
#include "fdht_axi_image.h"

int load(const uint16_t *image);
void start(uint32_t steps);
int finish(uint32_t steps, uint32_t patience);
extern const char *const stage_names[];
void clipped_words(uint32_t *of_stages);
uint32_t steps_of(uint32_t stream);

static uint16_t image[FDHT_AXI_MODEL_WORDS];

int main(int count, char **arguments)
{
    FILE *file = fopen(arguments[1], "rb"), *found = fopen(arguments[2], "w");
    uint32_t clips = strtoul(arguments[3], 0, 10), steps = strtoul(arguments[4], 0, 10);
    uint32_t of_stages[FDHT_AXI_MODEL_STAGES];
    if (count != 5 || fread(image, 2, FDHT_AXI_MODEL_WORDS, file) != FDHT_AXI_MODEL_WORDS || load(image) != 0)
        return 2;
    for (uint32_t k = 0; k < FDHT_AXI_MODEL_STAGES; k++)
        fprintf(found, k ? ", %s" : "%s", stage_names[k]);
    fprintf(found, "\n");
    for (uint32_t clip = 0; clip < clips; clip++) {
        ask('f', clip, 0); /* its frames come */
        start(steps);
        if (finish(steps, 100000) < 0)
            return 3;
        clipped_words(of_stages);
        for (uint32_t k = 0; k < FDHT_AXI_MODEL_STAGES; k++)
            fprintf(found, "%u ", (unsigned)of_stages[k]);
        fprintf(found, "%u\n", (unsigned)steps_of(0));
    }
    fclose(found);
    return 0;
}
