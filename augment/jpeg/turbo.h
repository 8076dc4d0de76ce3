#ifndef MOCOSTREAM_TURBO_H
#define MOCOSTREAM_TURBO_H

#include <stddef.h>

// At least libjpeg's JMSG_LENGTH_MAX.
enum { TURBO_MESSAGE = 256 };

enum turbo_status { TURBO_OK, TURBO_TRUNCATED, TURBO_CORRUPT, TURBO_UNSUPPORTED };

// Decodes data to width x height x 3 bytes of RGB at dst. The file has to have exactly these dimensions; more than
// max_scans scans, or more than max_memory bytes of libjpeg's own memory, are an error. On error the reason is in message.
// Keeps no pointer and no state.
int turbo_decode(const unsigned char *data, size_t size, unsigned char *dst, unsigned width, unsigned height,
                 int max_scans, long max_memory, char *message);

// The library's name and version.
const char *turbo_name(void);

#endif
