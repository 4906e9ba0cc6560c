/* The least that HTTP-FLV fan-out can cost: one publisher's FLV is read and the same bytes sent to everybody, by epoll.
 *
 *     send_loop PORT FLUSH_MS SECONDS
 *
 * Whoever begins with an FLV header is the publisher; anybody else is a viewer and gets the stream, from its newest key frame on.
 * FLUSH_MS 0 sends after each read of the publisher's socket, otherwise so long after the first byte that was not yet sent: the
 * moments at which Headwater sends. A viewer is a position in the stream. No requests are parsed. Ends after SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FLV_HEADER = 13, TAG_HEADER = 11, EVENTS = 1024, FDS = 65536, RING = 4 << 20, READ = 256 << 10 };

static const char HTTP[] = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n";

typedef struct {
    enum { FREE, ASKING, LIVE, BEHIND, PUBLISHER } state;
    uint64_t position; /* in the endless stream; its bytes stand at position % RING */
} Viewer;

static Viewer viewers[FDS];
static int live[FDS], live_count, place[FDS];
static unsigned char ring[RING], head[65536], inbox[READ];
static size_t head_bytes, inbox_bytes;
static uint64_t written, newest_key;
static int poller;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint32_t big24(const unsigned char *p) { return p[0] << 16 | p[1] << 8 | p[2]; }

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLRDHUP, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

static void enter(int fd, int state) {
    if (viewers[fd].state == LIVE && state != LIVE) { /* the last of the list takes the place */
        live[place[fd]] = live[--live_count];
        place[live[place[fd]]] = place[fd];
    } else if (viewers[fd].state != LIVE && state == LIVE) {
        place[fd] = live_count;
        live[live_count++] = fd;
    }
    viewers[fd].state = state;
}

static void leave(int fd) {
    enter(fd, FREE);
    close(fd);
}

/* Send what there is for this viewer, as far as its socket takes it. */
static void serve(int fd) {
    Viewer *viewer = &viewers[fd];
    if (written - viewer->position > RING) { /* its bytes are gone */
        leave(fd);
        return;
    }
    while (viewer->position < written) {
        size_t offset = viewer->position % RING;
        size_t count = written - viewer->position;
        if (count > RING - offset) count = RING - offset;
        ssize_t sent = send(fd, ring + offset, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) {
            leave(fd);
            return;
        }
        if (sent > 0) viewer->position += sent;
        if (sent < (ssize_t)count) {
            if (viewer->state != BEHIND) watch(fd, EPOLLOUT);
            enter(fd, BEHIND);
            return;
        }
    }
    if (viewer->state != LIVE) watch(fd, 0);
    enter(fd, LIVE);
}

static void fan_out(void) {
    for (int at = live_count - 1; at >= 0; at--) serve(live[at]); /* backwards: leaving moves only those already served */
}

/* Metadata and codec configuration go into the head, all other tags into the stream. */
static void take(const unsigned char *tag, size_t size) {
    int config = tag[12] == 0 && (tag[0] == 9 ? (tag[11] & 15) == 7 : tag[11] >> 4 == 10);
    if (tag[0] == 18 || config) {
        if (head_bytes + size > sizeof head) die("head");
        memcpy(head + head_bytes, tag, size);
        head_bytes += size;
        return;
    }
    if (tag[0] == 9 && tag[11] >> 4 == 1) newest_key = written;
    for (size_t at = 0; at < size;) {
        size_t offset = written % RING, count = size - at;
        if (count > RING - offset) count = RING - offset;
        memcpy(ring + offset, tag + at, count);
        written += count;
        at += count;
    }
}

static void listen_to(int fd) {
    ssize_t count = recv(fd, inbox + inbox_bytes, sizeof inbox - inbox_bytes, MSG_DONTWAIT);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) leave(fd);
        return;
    }
    inbox_bytes += count;
    size_t at = 0;
    if (head_bytes == sizeof HTTP - 1) {
        if (inbox_bytes < FLV_HEADER) return;
        memcpy(head + head_bytes, inbox, FLV_HEADER);
        head_bytes += FLV_HEADER;
        at = FLV_HEADER;
    }
    while (inbox_bytes - at > TAG_HEADER) {
        size_t size = TAG_HEADER + big24(inbox + at + 1) + 4;
        if (size > inbox_bytes - at) break;
        take(inbox + at, size);
        at += size;
    }
    inbox_bytes -= at;
    memmove(inbox, inbox + at, inbox_bytes);
}

static void begin(int fd) {
    char request[8192];
    ssize_t count = recv(fd, request, 3, MSG_DONTWAIT | MSG_PEEK);
    if (count == 3 && !memcmp(request, "FLV", 3)) {
        enter(fd, PUBLISHER);
        listen_to(fd);
        return;
    }
    if (count <= 0 || recv(fd, request, sizeof request, MSG_DONTWAIT) <= 0 ||
        send(fd, head, head_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)head_bytes) {
        leave(fd);
        return;
    }
    viewers[fd].position = newest_key;
    serve(fd);
}

static void greet(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= FDS) {
            close(fd);
            continue;
        }
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
        viewers[fd].state = ASKING;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: send_loop PORT FLUSH_MS SECONDS\n");
        return 2;
    }
    uint64_t flush_ms = strtoull(argv[2], NULL, 10), end = now_ms() + strtoull(argv[3], NULL, 10) * 1000;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
    memcpy(head, HTTP, sizeof HTTP - 1);
    head_bytes = sizeof HTTP - 1;
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    uint64_t sent = 0, due = end;
    for (;;) {
        uint64_t now = now_ms();
        if (now >= end) return 0;
        if (now >= due) {
            fan_out();
            sent = written;
            due = end;
        }
        int ready = epoll_wait(poller, events, EVENTS, due > now ? (int)(due - now) : 0);
        for (int at = 0; at < ready; at++) {
            int fd = events[at].data.fd;
            if (fd == listener) {
                greet(listener);
            } else if (viewers[fd].state == ASKING) {
                begin(fd);
            } else if (viewers[fd].state == PUBLISHER) {
                listen_to(fd);
            } else if (events[at].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
                leave(fd);
            } else {
                serve(fd);
            }
            if (written > sent && due == end) due = now_ms() + flush_ms;
        }
    }
}
