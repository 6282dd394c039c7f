/* See fdht.h. What passes on the line is described in fdht's spec/protocol.py.

   One request is under way at a time: no reply comes while bytes are sent, so a port need not do both at once. */
#include "fdht.h"
#include <string.h>

enum {
    EAGER = 16, /* how often an engine is asked at once whether it is done, before there are pauses of 1 ms */
    QUIET = 64  /* how often bytes are taken from a line that should be quiet: more than a reply has */
};

/* What comes of a request beside FDHT_OK, an error, and an FDHT_REASON_*. */
enum { SILENCE = 16, DAMAGE = 17 };

static uint32_t crc_of(uint32_t crc, uint8_t byte)
{
    static const uint32_t nibble[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    crc ^= byte;
    crc = crc >> 4 ^ nibble[crc & 15];
    return crc >> 4 ^ nibble[crc & 15];
}

static uint32_t number_at(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* ---- Frames ---- */

typedef struct {
    fdht_device *device;
    uint32_t crc;
    size_t count;
    int broken;
    uint8_t bytes[32];
} outgoing;

static void put(outgoing *out, uint8_t byte)
{
    out->bytes[out->count++] = byte;
    if (out->count == sizeof out->bytes) {
        out->broken |= out->device->send(out->device->context, out->bytes, out->count) != 0;
        out->count = 0;
    }
}

static void put_inside(outgoing *out, uint8_t byte)
{
    out->crc = crc_of(out->crc, byte);
    if (byte == FDHT_FLAG || byte == FDHT_ESCAPE) {
        put(out, FDHT_ESCAPE);
        byte ^= FDHT_INVERT;
    }
    put(out, byte);
}

static int send_frame(fdht_device *device, uint8_t header, const uint8_t *payload, size_t size)
{
    outgoing out;
    out.device = device;
    out.crc = 0xFFFFFFFFu;
    out.count = 0;
    out.broken = 0;
    put(&out, FDHT_FLAG);
    put_inside(&out, header);
    for (size_t k = 0; k < size; k++)
        put_inside(&out, payload[k]);
    uint32_t check = ~out.crc;
    for (int k = 0; k < FDHT_CHECK_BYTES; k++)
        put_inside(&out, (uint8_t)(check >> 8 * k));
    put(&out, FDHT_FLAG);
    if (out.count)
        out.broken |= device->send(device->context, out.bytes, out.count) != 0;
    return out.broken ? FDHT_LINE : FDHT_OK;
}

/* Bytes into `in`, if none are left there: 1, 0 if time is up, or FDHT_LINE. */
static int fill(fdht_device *device, uint32_t ms)
{
    if (device->in_at < device->in_count)
        return 1;
    int count = device->receive(device->context, device->in, sizeof device->in, ms);
    if (count < 0 || count > (int)sizeof device->in)
        return FDHT_LINE;
    device->in_at = 0;
    device->in_count = (uint8_t)count;
    return count > 0;
}

/* The next frame into `reply`, its payload of `size` bytes behind the header: FDHT_OK, SILENCE, DAMAGE or an error. */
static int hear(fdht_device *device)
{
    size_t count = 0;
    uint32_t flags = 0;
    int escaped = 0, damaged = 0;
    for (;;) {
        int some = fill(device, device->timeout_ms);
        if (some <= 0)
            return some ? some : SILENCE;
        uint8_t byte = device->in[device->in_at++];
        if (byte == FDHT_FLAG) {
            if (count || escaped || damaged)
                break;
            if (++flags >> 20)
                return SILENCE; /* a port that gives what SPI carries while there is nothing */
            continue;
        }
        if (byte == FDHT_ESCAPE && !escaped) {
            escaped = 1;
            continue;
        }
        if (count == sizeof device->reply) {
            if (damaged++ > (int)sizeof device->reply)
                return DAMAGE; /* no end comes, either */
            continue;
        }
        device->reply[count++] = escaped ? byte ^ FDHT_INVERT : byte;
        escaped = 0;
    }
    if (damaged || escaped || count <= FDHT_CHECK_BYTES)
        return DAMAGE;
    count -= FDHT_CHECK_BYTES;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t k = 0; k < count; k++)
        crc = crc_of(crc, device->reply[k]);
    device->size = (uint16_t)(count - 1);
    return ~crc == number_at(device->reply + count) ? FDHT_OK : DAMAGE;
}

/* Lets what is still coming go by, since a port may lose what comes while it sends. */
static int quieten(fdht_device *device)
{
    for (int k = 0; k < QUIET; k++) {
        device->in_at = device->in_count = 0;
        int some = fill(device, 1);
        if (some <= 0)
            return some;
    }
    device->in_count = 0;
    return FDHT_OK;
}

/* ---- Requests ---- */

static uint8_t header_of(uint8_t kind, uint8_t number)
{
    return (uint8_t)(kind | number << 4);
}

static uint8_t next(uint8_t number)
{
    return (number + 1) & 15;
}

/* Sends a request once, and waits for its reply: FDHT_OK, an FDHT_REASON_*, SILENCE, DAMAGE or an error. */
static int exchange(fdht_device *device, uint8_t kind, uint8_t number, size_t size)
{
    uint8_t header = header_of(kind, number);
    if (device->unsure && quieten(device))
        return FDHT_LINE;
    int heard = send_frame(device, header, device->payload, size);
    while (heard == FDHT_OK) {
        heard = hear(device);
        if (heard != FDHT_OK)
            break;
        int refused = device->reply[0] & FDHT_REFUSED_BIT;
        int reason = refused && device->size ? device->reply[1] & 7 : 0;
        if (reason == FDHT_REASON_DAMAGED)
            heard = DAMAGE;
        else if ((device->reply[0] & ~FDHT_REFUSED_BIT) == header)
            return reason;
        else if (device->reply[0] == device->watched)
            device->late = 1;
    }
    if (heard > 0)
        device->unsure = 1; /* a request may be on its way that nobody waits for */
    return heard;
}

typedef struct {
    int silences, damages;
} trouble;

/* Counts what went wrong; FDHT_SILENT when that is too much. */
static int count(trouble *counted, int heard)
{
    if (heard == SILENCE)
        return ++counted->silences == FDHT_ATTEMPTS ? FDHT_SILENT : FDHT_OK;
    return ++counted->damages == FDHT_DAMAGES ? FDHT_SILENT : FDHT_OK;
}

/* A request again and again until it is answered: FDHT_OK, an FDHT_REASON_* or an error. */
static int persist(fdht_device *device, uint8_t kind, uint8_t number, size_t size)
{
    trouble counted = {0, 0};
    for (;;) {
        int heard = exchange(device, kind, number, size);
        if (heard < SILENCE)
            return heard;
        int error = count(&counted, heard);
        if (error)
            return error;
    }
}

static int read_status(fdht_device *device)
{
    const uint8_t *reply = device->reply + 1;
    fdht_status *status = &device->status;
    if (device->size < FDHT_STATUS_BYTES)
        return FDHT_STRANGE;
    status->busy = reply[0] >> 3 & 1;
    status->last = reply[0] >> 4;
    status->errors = reply[1];
    status->collision = reply[2] & 1;
    status->lacking = reply[2] >> 1 & FDHT_LACKING_MASK;
    status->version = reply[FDHT_STATUS_VERSION];
    status->cycles = number_at(reply + FDHT_STATUS_CYCLES);
    status->stalls = number_at(reply + FDHT_STATUS_STALLS);
    status->saturations = number_at(reply + FDHT_STATUS_SATURATIONS);
    status->target = number_at(reply + FDHT_STATUS_TARGET);
    status->build = number_at(reply + FDHT_STATUS_BUILD);
    status->image = number_at(reply + FDHT_STATUS_IMAGE);
    return FDHT_OK;
}

/* The status, asked under a number of its own. Replies come in order: afterwards none to an earlier request comes. */
int fdht_ask_status(fdht_device *device)
{
    device->tag = next(device->tag);
    int heard = persist(device, FDHT_REQUEST_STATUS, device->tag, 0);
    if (heard)
        return heard < 0 ? heard : FDHT_STRANGE;
    device->unsure = 0;
    return read_status(device);
}

static int refused(fdht_device *device, int reason)
{
    device->reason = (uint8_t)reason;
    return reason == FDHT_REASON_SEQUENCE ? FDHT_RESTARTED : FDHT_REFUSED;
}

/* ---- Results ---- */

static int take(fdht_device *device)
{
    int32_t value = 0;
    int bits = 8 * (device->image->result_bytes - 1);
    for (int k = 0; 8 * k < bits; k++)
        value |= (int32_t)device->part[1 + k] << 8 * k;
    if (value >> (bits - 1))
        value -= (int32_t)1 << bits;
    if (device->left == 0)
        return FDHT_STRANGE;
    device->left--;
    if ((device->part[0] & 3) == FDHT_OUTPUT_LOGIT) {
        if (device->logits_left == 0)
            return FDHT_STRANGE;
        device->logits_left--;
        *device->logits++ = value;
    }
    return FDHT_OK;
}

/* Takes the results that are there. A READ that is repeated may bring more, and the next one forgets all that was sent:
   so none is sent while another may be on its way. */
static int collect(fdht_device *device)
{
    uint8_t number = next(device->number);
    trouble counted = {0, 0};
    for (;;) {
        if (device->unsure) {
            int error = fdht_ask_status(device);
            if (error)
                return error;
        }
        int heard = exchange(device, FDHT_REQUEST_READ, number, 0);
        if (heard < 0)
            return heard;
        if (heard == FDHT_OK)
            break;
        if (heard == FDHT_REASON_SEQUENCE)
            return refused(device, heard);
        int error = count(&counted, heard);
        if (error)
            return error;
    }
    device->number = number;
    if (device->size)
        device->idle = 0;
    if (device->image == 0)
        return FDHT_OK;
    for (size_t k = 0; k < device->size; k++) {
        device->part[device->part_count++] = device->reply[1 + k];
        if (device->part_count == device->image->result_bytes) {
            device->part_count = 0;
            int error = take(device);
            if (error)
                return error;
        }
    }
    return FDHT_OK;
}

/* Called when an engine had nothing to take or give: FDHT_STANDSTILL when that lasts. */
static int wait(fdht_device *device)
{
    if (device->idle++ < EAGER)
        return FDHT_OK;
    if (device->idle / FDHT_STANDSTILLS > device->timeout_ms)
        return FDHT_STANDSTILL;
    return fill(device, 1) < 0 ? FDHT_LINE : FDHT_OK;
}

/* Has a request done in its place in the order, its payload in `payload`. While the engine takes no more, results are
   taken. */
static int order(fdht_device *device, uint8_t kind, size_t size)
{
    for (;;) {
        uint8_t number = next(device->number);
        int heard = persist(device, kind, number, size);
        if (heard < 0)
            return heard;
        if (heard == FDHT_REASON_WAIT && device->unsure) {
            /* What was refused may be on its way once more, under a number that is another's next. */
            device->watched = header_of(kind, number);
            device->late = 0;
            int error = fdht_ask_status(device);
            device->watched = FDHT_REFUSED_BIT;
            if (error)
                return error;
            if (device->late)
                heard = FDHT_OK;
        }
        if (heard == FDHT_OK) {
            device->number = number;
            device->idle = 0;
            return FDHT_OK;
        }
        if (heard != FDHT_REASON_WAIT)
            return refused(device, heard);
        int error = wait(device);
        if (!error)
            error = collect(device);
        if (error)
            return error;
    }
}

/* ---- What a program calls ---- */

int fdht_open(fdht_device *device)
{
    device->number = device->tag = device->late = 0;
    device->unsure = 1; /* of what the line holds */
    device->watched = FDHT_REFUSED_BIT; /* no reply that is good news has it */
    device->in_at = device->in_count = device->part_count = 0;
    device->left = device->logits_left = device->frames_left = device->idle = 0;
    device->image = 0;
    device->logits = 0;
    int heard = persist(device, FDHT_REQUEST_IDENTIFY, 0, 0);
    if (heard)
        return heard < 0 ? heard : FDHT_STRANGE;
    if (device->size <= FDHT_STATUS_VERSION)
        return FDHT_SILENT;
    if (device->reply[1 + FDHT_STATUS_VERSION] != FDHT_PROTOCOL)
        return FDHT_VERSION;
    device->unsure = 0;
    return read_status(device);
}

int fdht_reset(fdht_device *device)
{
    int error = order(device, FDHT_REQUEST_RESET, 0);
    device->left = device->logits_left = device->frames_left = 0;
    device->part_count = 0;
    device->logits = 0;
    return error;
}

int fdht_load(fdht_device *device, const fdht_image *image)
{
    device->image = 0;
    int error = fdht_reset(device);
    if (!error)
        error = fdht_ask_status(device);
    if (error)
        return error;
    if (device->status.target != image->target)
        return FDHT_OTHER_TARGET;
    if (device->status.image != image->check) {
        size_t size = 0;
        for (uint32_t k = 0; k < image->count; k++) {
            device->payload[size++] = (uint8_t)image->words[k];
            device->payload[size++] = (uint8_t)(image->words[k] >> 8);
            if (size == FDHT_MAX_PAYLOAD || k == image->count - 1) {
                error = order(device, FDHT_REQUEST_IMAGE, size);
                if (error)
                    return error;
                size = 0;
            }
        }
        error = fdht_ask_status(device);
        if (error)
            return error;
        if (device->status.image != image->check)
            return FDHT_NOT_LOADED;
    }
    device->image = image;
    return FDHT_OK;
}

int fdht_begin(fdht_device *device, uint16_t steps, int keep, int32_t *logits)
{
    const fdht_image *image = device->image;
    if (image == 0)
        return FDHT_OTHER_IMAGE;
    if (steps == 0 || (keep && device->left))
        return FDHT_MISUSE;
    device->idle = 0;
    int error = fdht_ask_status(device);
    while (!error && keep && device->status.busy) {
        error = wait(device);
        if (!error)
            error = fdht_ask_status(device);
    }
    if (!error && (device->left || device->status.busy))
        error = fdht_reset(device);
    if (error)
        return error;
    if (device->status.image != image->check)
        return FDHT_OTHER_IMAGE;
    memset(device->payload, 0, FDHT_START_BYTES);
    device->payload[0] = (uint8_t)steps;
    device->payload[1] = (uint8_t)(steps >> 8);
    device->payload[FDHT_START_FLAGS] = keep ? FDHT_START_KEEP : 0;
    error = order(device, FDHT_REQUEST_START, FDHT_START_BYTES);
    if (error)
        return error;
    device->logits = logits;
    device->logits_left = (uint32_t)image->classes * (image->every_step ? steps : 1u);
    device->left = image->states + device->logits_left;
    device->frames_left = steps;
    device->part_count = 0;
    return FDHT_OK;
}

int fdht_frame(fdht_device *device, const void *frame)
{
    const fdht_image *image = device->image;
    const uint8_t *bytes = frame;
    uint32_t turn[FDHT_LOOPS] = {0}, position = 0;
    size_t size = 0;
    if (image == 0 || device->frames_left == 0)
        return FDHT_MISUSE;
    for (uint32_t k = 0; k < image->sent; k++) {
        uint32_t at = image->order && k < image->inputs ? image->order[k] : position;
        uint16_t word = 0;
        if (k < image->inputs) {
            if (image->x_bytes == 1)
                word = bytes[at];
            else
                memcpy(&word, bytes + 2 * at, 2);
        }
        device->payload[size++] = (uint8_t)word;
        if (image->x_bytes == 2)
            device->payload[size++] = (uint8_t)(word >> 8);
        if (size == FDHT_MAX_PAYLOAD || k == image->sent - 1) {
            int error = order(device, FDHT_REQUEST_X, size);
            if (error)
                return error;
            size = 0;
        }
        if (image->loops == 0) {
            position++;
            continue;
        }
        for (int loop = 0; loop < FDHT_LOOPS && image->loops[loop].count; loop++) {
            position += (uint32_t)image->loops[loop].stride;
            if (++turn[loop] < image->loops[loop].count)
                break;
            position -= (uint32_t)image->loops[loop].stride * turn[loop];
            turn[loop] = 0;
        }
    }
    device->frames_left--;
    return FDHT_OK;
}

/* Waits until no more than so many results are left. */
static int results_until(fdht_device *device, uint32_t left)
{
    while (device->left > left) {
        int error = collect(device);
        if (!error && device->left > left)
            error = wait(device);
        if (error)
            return error;
    }
    return FDHT_OK;
}

/* The class that logits give: the first of the largest. */
static int class_of(const fdht_device *device, const int32_t *logits)
{
    int best = 0;
    for (int k = 1; k < device->image->classes; k++)
        if (logits[k] > logits[best])
            best = k;
    return best;
}

int fdht_finish(fdht_device *device)
{
    if (device->frames_left || device->logits == 0)
        return FDHT_MISUSE;
    int error = results_until(device, 0);
    if (!error && device->logits_left)
        error = FDHT_STRANGE;
    if (error)
        return error;
    int number = class_of(device, device->logits - device->image->classes);
    device->logits = 0; /* the run is finished */
    return number;
}

int fdht_run(fdht_device *device, const void *clip, uint16_t steps, int keep, int32_t *logits)
{
    int error = fdht_begin(device, steps, keep, logits);
    for (uint32_t k = 0; !error && k < steps; k++)
        error = fdht_frame(device, (const uint8_t *)clip + k * device->image->inputs * device->image->x_bytes);
    return error ? error : fdht_finish(device);
}

int fdht_step(fdht_device *device, const void *frame, int first, int32_t *logits)
{
    const fdht_image *image = device->image;
    if (image == 0)
        return FDHT_OTHER_IMAGE;
    if (!image->every_step)
        return fdht_run(device, frame, 1, !first, logits);
    /* A run as long as can be, since its end sends all states; then another one goes on. */
    int error = FDHT_OK;
    if (first || device->frames_left == 0)
        error = fdht_begin(device, FDHT_MOST_STEPS, !first, logits);
    if (error)
        return error;
    device->logits = logits;
    device->logits_left = image->classes; /* of this step, so that no more are written */
    uint32_t left = device->left - image->classes;
    error = fdht_frame(device, frame);
    if (!error)
        error = results_until(device, device->frames_left ? left : 0);
    if (!error && device->logits_left)
        error = FDHT_STRANGE;
    return error ? error : class_of(device, logits);
}

int32_t fdht_word(const fdht_image *image, uint32_t k, double value)
{
    int32_t offset = 0;
    if (image->scales) {
        k = image->scales > 1 ? k : 0;
        value = (value - image->centre[k]) / image->step[k];
        offset = image->x_offset;
    }
    double steps = value + 0.5;
    if (!(steps >= image->x_min - offset))
        return image->x_min;
    if (steps >= image->x_max - offset)
        return image->x_max;
    int32_t whole = (int32_t)steps; /* towards 0 */
    return (steps < whole ? whole - 1 : whole) + offset;
}

double fdht_value(const fdht_image *image, uint32_t k, int32_t logit)
{
    double value = (double)logit;
    for (int k = image->logit_fraction; k > 0; k--)
        value /= 2;
    for (int k = image->logit_fraction; k < 0; k++)
        value *= 2;
    return image->output_scale ? value * image->output_scale[k] + image->output_mean[k] : value;
}

const char *fdht_sentence(int error)
{
    switch (error) {
    case FDHT_LINE:
        return "the port says that the line is broken; look at cable and power";
    case FDHT_SILENT:
        return "nothing answers as an fdht engine does; look at the wires and the rate, and that the bitstream is loaded";
    case FDHT_VERSION:
        return "the bitstream speaks another version of the protocol; export this driver with the fdht that built it";
    case FDHT_OTHER_TARGET:
        return "the image is for another engine; export it for the board's own, or load the image's bitstream";
    case FDHT_NOT_LOADED:
        return "the image has not arrived as it was sent; load it again";
    case FDHT_OTHER_IMAGE:
        return "the engine does not hold the image; call fdht_load";
    case FDHT_RESTARTED:
        return "the board has been restarted, or another program uses it; call fdht_open and fdht_load";
    case FDHT_REFUSED:
        return "the engine refuses a request, see device.reason; another program may be using it: begin with fdht_open";
    case FDHT_STANDSTILL:
        return "the engine stands still; begin with fdht_open, and if that does not help, load the bitstream anew";
    case FDHT_STRANGE:
        return "the board sent other results than it was asked for; begin with fdht_open";
    case FDHT_MISUSE:
        return "a run has 1 to 65535 steps and so many frames; it is finished before another one keeps its states";
    default:
        return "no error";
    }
}

/* ---- SPI ---- */

int fdht_spi_send(void *spi, const uint8_t *bytes, size_t count)
{
    fdht_spi *port = spi;
    for (size_t k = 0; k < count; k++)
        port->last = port->exchange(port->context, bytes[k]); /* no reply comes meanwhile */
    return 0;
}

/* Flags come while there is nothing to say; of each row of them one is passed on. */
int fdht_spi_receive(void *spi, uint8_t *bytes, size_t count, uint32_t ms)
{
    fdht_spi *port = spi;
    uint32_t turns = ms * port->bytes_per_ms;
    size_t some = 0;
    do {
        uint8_t before = port->last;
        port->last = port->exchange(port->context, FDHT_FLAG);
        if (port->last == FDHT_FLAG && before == FDHT_FLAG) {
            if (some)
                break;
        } else
            bytes[some++] = port->last;
    } while (some < count && (some || turns-- > 0));
    return (int)some;
}
