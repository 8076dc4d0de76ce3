// A link to a server process of its own: requests and replies over a socket, bulk data in memory that both map.
//
// A request is two 64-bit numbers, operation and count, and that many 64-bit arguments. A reply is a PJRT error code, a
// count and the length of a text, then that many 64-bit values and the text. All numbers are in the machine's byte order.
#ifndef LINK_H
#define LINK_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// AREA is the size of the shared memory. Pages that no transfer touched cost nothing.
#define AREA ((size_t)4 << 30)

struct link {
  pthread_mutex_t mutex; // held over a request, its bulk data and its reply
  pid_t server;          // 0: ended
  int fd;                // the socket
  int area_fd;
  char *area;
  int64_t freed[1024]; // buffers that the server may forget; told with the next request
  size_t freed_count;
};

struct reply {
  int64_t code; // 0, or a PJRT error code
  int64_t count;
  int64_t *values; // count of them
  char *text;      // of an error
};

// link_start starts `python server SOCKET AREA devices` and reads its first reply. It returns false when the process could
// not be made; a reply tells of what went wrong inside it.
int link_start(struct link *l, const char *python, const char *server, int devices, struct reply *r);

// link_stop ends the server. The link answers every further request with an error.
void link_stop(struct link *l);

// link_call sends a request and reads the reply, which the caller clears. The mutex is held.
void link_call(struct link *l, char operation, const int64_t *arguments, size_t count, struct reply *r);

// link_send sends a request that has no reply. The mutex is held.
void link_send(struct link *l, char operation, const int64_t *arguments, size_t count);

// link_free has the server forget a buffer. The mutex is held.
void link_free(struct link *l, int64_t buffer);

void reply_clear(struct reply *r);

#endif
