#define _GNU_SOURCE
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNAVAILABLE = 14 }; // PJRT_Error_Code_UNAVAILABLE

// send_all writes without raising SIGPIPE; false when the server is gone.
static int send_all(int fd, const void *data, size_t n) {
  const char *at = data;
  while (n > 0) {
    ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return 0;
    at += k;
    n -= (size_t)k;
  }
  return 1;
}

static int receive_all(int fd, void *data, size_t n) {
  char *at = data;
  while (n > 0) {
    ssize_t k = recv(fd, at, n, 0);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return 0;
    at += k;
    n -= (size_t)k;
  }
  return 1;
}

// reap ends the server, says how it ended and marks the link as dead.
static void reap(struct link *l, char *text, size_t size) {
  int status = 0;
  if (l->server == 0) {
    snprintf(text, size, "the jaxlib server has ended");
    return;
  }
  kill(l->server, SIGKILL); // no matter to one that has ended
  while (waitpid(l->server, &status, 0) < 0 && errno == EINTR) {
  }
  close(l->fd);
  l->server = 0;
  if (WIFSIGNALED(status))
    snprintf(text, size, "the jaxlib server was killed by signal %d", WTERMSIG(status));
  else
    snprintf(text, size, "the jaxlib server ended with code %d; its messages are on stderr", WEXITSTATUS(status));
}

void link_stop(struct link *l) {
  char ignored[128];
  reap(l, ignored, sizeof ignored);
  if (l->area) munmap(l->area, AREA);
  if (l->area_fd >= 0) close(l->area_fd);
  l->area = NULL;
  l->area_fd = -1;
}

// lost turns the reply into the error that the server is gone.
static void lost(struct link *l, struct reply *r) {
  reply_clear(r);
  r->code = UNAVAILABLE;
  r->text = calloc(1, 160);
  if (r->text) reap(l, r->text, 160);
}

static void receive(struct link *l, struct reply *r) {
  int64_t head[3];
  if (!receive_all(l->fd, head, sizeof head)) {
    lost(l, r);
    return;
  }
  r->code = head[0];
  r->count = head[1];
  r->values = calloc((size_t)head[1] + 1, sizeof *r->values);
  r->text = calloc((size_t)head[2] + 1, 1);
  if (!r->values || !r->text || !receive_all(l->fd, r->values, (size_t)head[1] * sizeof *r->values) ||
      !receive_all(l->fd, r->text, (size_t)head[2]))
    lost(l, r);
}

void reply_clear(struct reply *r) {
  free(r->values);
  free(r->text);
  memset(r, 0, sizeof *r);
}

static int request(struct link *l, char operation, const int64_t *arguments, size_t count) {
  int64_t head[2] = {operation, (int64_t)count};
  return send_all(l->fd, head, sizeof head) && send_all(l->fd, arguments, count * sizeof *arguments);
}

static int tell_freed(struct link *l) {
  size_t count = l->freed_count;
  l->freed_count = 0;
  return count == 0 || request(l, 'F', l->freed, count);
}

void link_call(struct link *l, char operation, const int64_t *arguments, size_t count, struct reply *r) {
  memset(r, 0, sizeof *r);
  if (l->server == 0 || !tell_freed(l) || !request(l, operation, arguments, count))
    lost(l, r);
  else
    receive(l, r);
}

void link_send(struct link *l, char operation, const int64_t *arguments, size_t count) {
  if (l->server != 0) request(l, operation, arguments, count); // the next call notices a server that is gone
}

void link_free(struct link *l, int64_t buffer) {
  if (l->server == 0) return;
  l->freed[l->freed_count++] = buffer;
  if (l->freed_count == sizeof l->freed / sizeof *l->freed) tell_freed(l);
}

// be_server turns a fresh child into the server. Only what is safe after fork in a program with threads.
static void be_server(char *const argv[], int fd, int area_fd) {
  fcntl(fd, F_SETFD, 0); // every other process of this program closes it
  fcntl(area_fd, F_SETFD, 0);
  dup2(STDERR_FILENO, STDOUT_FILENO); // the program's stdout belongs to its results
  signal(SIGINT, SIG_IGN);            // Ctrl-C is for the program, which may want to save before it ends
  execvp(argv[0], argv);
  _exit(127);
}

static int make_area(struct link *l) {
  l->area_fd = memfd_create("pjrtjax", MFD_CLOEXEC);
  if (l->area_fd < 0 || ftruncate(l->area_fd, (off_t)AREA) != 0) return 0;
  l->area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, l->area_fd, 0);
  if (l->area == MAP_FAILED) l->area = NULL;
  return l->area != NULL;
}

int link_start(struct link *l, const char *python, const char *server, int devices, struct reply *r) {
  memset(r, 0, sizeof *r);
  int ends[2];
  char numbers[3][16];
  l->area_fd = -1;
  if (!make_area(l) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 0;
  snprintf(numbers[0], sizeof numbers[0], "%d", ends[1]);
  snprintf(numbers[1], sizeof numbers[1], "%d", l->area_fd);
  snprintf(numbers[2], sizeof numbers[2], "%d", devices);
  char *const argv[] = {(char *)python, (char *)server, numbers[0], numbers[1], numbers[2], NULL};
  pthread_mutex_init(&l->mutex, NULL);
  l->server = fork();
  if (l->server == 0) be_server(argv, ends[1], l->area_fd);
  close(ends[1]);
  l->fd = ends[0];
  if (l->server < 0) {
    l->server = 0;
    close(l->fd);
    return 0;
  }
  receive(l, r);
  return 1;
}
