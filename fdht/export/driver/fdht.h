/* Drives an fdht engine behind a UART or SPI from a microcontroller: C99, no heap, two functions of yours.

   fdht_device device = {.send = my_send, .receive = my_receive, .timeout_ms = 100};
   fdht_open(&device); fdht_load(&device, &fdht_model);
   int class = fdht_run(&device, clip, FDHT_MODEL_STEPS, 0, logits);

   Every function returns FDHT_OK or a class (0 or more), or an error (below 0), which fdht_sentence explains. */
#ifndef FDHT_H
#define FDHT_H

#include <stddef.h>
#include <stdint.h>
#include "fdht_protocol.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    FDHT_OK = 0,
    FDHT_LINE = -1,         /* a function of yours says that the line is broken */
    FDHT_SILENT = -2,       /* nothing answers, or nothing that can be understood */
    FDHT_VERSION = -3,      /* the bitstream speaks another version of the protocol */
    FDHT_OTHER_TARGET = -4, /* the image is for another engine */
    FDHT_NOT_LOADED = -5,   /* the image has not arrived as it was sent */
    FDHT_OTHER_IMAGE = -6,  /* the engine holds another image, or none was loaded by fdht_load */
    FDHT_RESTARTED = -7,    /* the board has been restarted, or another program uses it */
    FDHT_REFUSED = -8,      /* a request was refused: device.reason, an FDHT_REASON_* */
    FDHT_STANDSTILL = -9,   /* the engine takes and gives nothing any more */
    FDHT_STRANGE = -10,     /* results are not those that were asked for */
    FDHT_MISUSE = -11       /* no steps, more frames than the run has, or no run */
};

/* How a frame's words are sent: the position in the frame goes on by `stride`, `count` times, the innermost first. */
typedef struct {
    uint32_t count;
    int32_t stride;
} fdht_loop;

/* A model compiled for one engine; fdht_image.c has one. */
typedef struct {
    const uint16_t *words;   /* what is loaded */
    uint32_t count;          /* of them */
    uint32_t check;          /* their CRC */
    uint32_t target;         /* the engine it is for */
    uint32_t inputs;         /* words of a frame */
    uint32_t sent;           /* of these as they are sent: whole beats */
    const fdht_loop *loops;  /* in which order; 0: another one, or their own */
    const uint32_t *order;   /* in which order, one by one; 0: their own, where there are no loops either */
    uint32_t states;         /* words of h and c of all units */
    uint16_t classes;        /* logits */
    uint8_t x_bytes;         /* of a word of a frame: 1, or 2 (an int16_t or uint16_t) */
    uint8_t result_bytes;    /* of a result on the line */
    uint8_t every_step;      /* whether logits come after every step, not only after the last */
    int8_t logit_fraction;   /* a logit stands for itself / 2^logit_fraction; below 0 for large numbers */
    int32_t x_min, x_max;    /* range of a word of a frame */
    int32_t x_offset;        /* the word of a value at its centre */
    uint32_t scales;         /* of real values: 0 there is no scaling, 1 one for all, else one each */
    const double *centre, *step;
    const double *output_scale, *output_mean; /* of a regression; else 0 */
} fdht_image;

typedef struct {
    uint8_t busy, last, errors, collision, lacking, version;
    uint32_t cycles, stalls, saturations; /* of the current or last run */
    uint32_t target, build, image;        /* the engine, its bitstream, the check of what is loaded */
} fdht_status;

/* A board. What stands first is yours to fill in, all else is 0 at first. */
typedef struct {
    /* Sends all bytes; 0, or anything else if the line is broken. */
    int (*send)(void *context, const uint8_t *bytes, size_t count);
    /* Up to `count` bytes, as soon as there is one; how many, 0 after so many ms without one, below 0: broken. */
    int (*receive)(void *context, uint8_t *bytes, size_t count, uint32_t ms);
    void *context;       /* passed to both */
    uint32_t timeout_ms; /* in which a board that is there answers */

    uint8_t reason; /* of FDHT_REFUSED */
    fdht_status status; /* the last that was heard */

    /* Of fdht.c alone from here on. */
    const fdht_image *image;
    int32_t *logits;
    uint32_t logits_left, left, frames_left, idle;
    uint8_t number, tag, unsure, watched, late, part_count, in_at, in_count;
    uint8_t part[4], in[32], payload[FDHT_MAX_PAYLOAD];
    uint16_t size;
    uint8_t reply[1 + FDHT_REPLY_BYTES + FDHT_CHECK_BYTES];
} fdht_device;

/* Finds the engine. Everything begins anew: call it first, and after FDHT_RESTARTED. */
int fdht_open(fdht_device *device);

/* Loads an image, unless it is what the engine has, and makes sure that it has arrived. */
int fdht_load(fdht_device *device, const fdht_image *image);

/* Runs a clip: `steps` frames of image->inputs words, one behind the other, each of x_bytes bytes.
   keep: go on with the states that the run before ended with.
   logits: takes image->classes, after every step if the image has them then.
   Returns the class after the last step: of a regression it means nothing, see fdht_value. */
int fdht_run(fdht_device *device, const void *clip, uint16_t steps, int keep, int32_t *logits);

/* A step of a sequence without end: a frame in, its logits out, states kept in the engine until the next.
   first: a sequence begins. Returns the class. */
int fdht_step(fdht_device *device, const void *frame, int first, int32_t *logits);

/* A run piece by piece, for a clip that is not in memory as a whole: begin, `steps` frames, finish. */
int fdht_begin(fdht_device *device, uint16_t steps, int keep, int32_t *logits);
int fdht_frame(fdht_device *device, const void *frame);
int fdht_finish(fdht_device *device);

/* Asks for device->status. */
int fdht_ask_status(fdht_device *device);

/* Ends a run and forgets its results; what is loaded stays. */
int fdht_reset(fdht_device *device);

/* The word that a real value is sent as: value k of a frame. Without a scaling the value is a word, and is rounded. */
int32_t fdht_word(const fdht_image *image, uint32_t k, double value);

/* The number that logit k stands for; of a regression, the one that was asked for. */
double fdht_value(const fdht_image *image, uint32_t k, int32_t logit);

/* What went wrong, and what to do. */
const char *fdht_sentence(int error);

/* `send` and `receive` of a device whose context is an fdht_spi: over SPI in mode 0, high bit first. */
typedef struct {
    uint8_t (*exchange)(void *context, uint8_t byte); /* one byte there and one back, the board selected */
    void *context;
    uint32_t bytes_per_ms; /* how many pass in a millisecond, about: it is the only clock */
    uint8_t last;          /* 0 at first */
} fdht_spi;

int fdht_spi_send(void *spi, const uint8_t *bytes, size_t count);
int fdht_spi_receive(void *spi, uint8_t *bytes, size_t count, uint32_t ms);

#ifdef __cplusplus
}
#endif

#endif /* FDHT_H */
