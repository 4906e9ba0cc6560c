/* The least that HTTP-FLV fan-out can cost: one clip paced as a live stream, the same bytes sent to everybody by epoll.
 *
 *     send_loop FILE.flv PORT FLUSH_MS SECONDS
 *
 * FLUSH_MS 0 sends each tag by itself. A viewer is a position in the stream; the clip in memory is the stream, and only the
 * timestamps change from lap to lap. No requests are parsed: whoever says something gets the stream. Ends after SECONDS.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FLV_HEADER = 13, TAG_HEADER = 11, EVENTS = 1024, FDS = 65536, LAP_MS = 60000 };

static const char HTTP[] = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n";

typedef struct {
    uint32_t start, end, at_ms;
    int key;
} Frame;

typedef struct {
    enum { FREE, ASKING, LIVE, BEHIND } state;
    uint64_t position; /* in the endless stream: lap * body_bytes + offset */
} Viewer;

static Viewer viewers[FDS];
static int live[FDS], live_count, place[FDS];
static unsigned char *body, head[65536];
static size_t body_bytes, head_bytes;
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

/* Put metadata and codec configuration into the head, all other tags into the body. Returns the number of frames. */
static size_t load(const char *path, Frame **frames) {
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info)) die(path);
    unsigned char *data = malloc(info.st_size);
    if (fread(data, 1, info.st_size, file) != (size_t)info.st_size) die(path);
    fclose(file);
    *frames = malloc(info.st_size / TAG_HEADER * sizeof **frames);
    size_t count = 0;
    head_bytes = sizeof HTTP - 1;
    memcpy(head, HTTP, head_bytes);
    memcpy(head + head_bytes, data, FLV_HEADER);
    head_bytes += FLV_HEADER;
    body = data;
    for (size_t at = FLV_HEADER; at + TAG_HEADER < (size_t)info.st_size;) {
        unsigned char *tag = data + at;
        size_t size = TAG_HEADER + big24(tag + 1) + 4;
        uint32_t at_ms = (uint32_t)tag[7] << 24 | big24(tag + 4);
        int config = tag[12] == 0 && (tag[0] == 9 ? (tag[11] & 15) == 7 : tag[11] >> 4 == 10);
        if (tag[0] == 18 || config) {
            if (head_bytes + size > sizeof head) die("head");
            memcpy(head + head_bytes, tag, size);
            head_bytes += size;
        } else if (at_ms < LAP_MS) {
            int key = tag[0] == 9 && tag[11] >> 4 == 1;
            memmove(body + body_bytes, tag, size);
            (*frames)[count++] = (Frame){body_bytes, body_bytes + size, at_ms, key};
            body_bytes += size;
        }
        at += size;
    }
    return count;
}

static void stamp(unsigned char *tag, uint32_t at_ms) {
    tag[4] = at_ms >> 16;
    tag[5] = at_ms >> 8;
    tag[6] = at_ms;
    tag[7] = at_ms >> 24;
}

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
    if (written - viewer->position > body_bytes) { /* a lap behind: its bytes are gone */
        leave(fd);
        return;
    }
    while (viewer->position < written) {
        size_t offset = viewer->position % body_bytes;
        size_t count = written - viewer->position;
        if (count > body_bytes - offset) count = body_bytes - offset;
        ssize_t sent = send(fd, body + offset, count, MSG_NOSIGNAL | MSG_DONTWAIT);
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

static void begin(int fd) {
    char request[8192];
    if (recv(fd, request, sizeof request, MSG_DONTWAIT) <= 0) {
        leave(fd);
        return;
    }
    if (send(fd, head, head_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)head_bytes) {
        leave(fd);
        return;
    }
    viewers[fd].position = newest_key;
    serve(fd);
}

static void fan_out(void) {
    for (int at = live_count - 1; at >= 0; at--) serve(live[at]); /* backwards: leaving moves only those already served */
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: send_loop FILE.flv PORT FLUSH_MS SECONDS\n");
        return 2;
    }
    Frame *frames;
    size_t count = load(argv[1], &frames);
    uint64_t flush_ms = strtoull(argv[3], NULL, 10), start = now_ms();
    uint64_t end = start + strtoull(argv[4], NULL, 10) * 1000, due = start;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    size_t next = 0;
    uint64_t lap = 0;
    for (;;) {
        uint64_t now = now_ms();
        if (now >= end) return 0;
        if (now >= due) {
            while (lap * LAP_MS + frames[next].at_ms <= now - start) {
                stamp(body + frames[next].start, lap * LAP_MS + frames[next].at_ms);
                if (frames[next].key) newest_key = lap * body_bytes + frames[next].start;
                written = lap * body_bytes + frames[next].end;
                if (++next == count) next = 0, lap++;
                if (!flush_ms) fan_out();
            }
            if (flush_ms) fan_out();
            due = flush_ms ? due + flush_ms : start + lap * LAP_MS + frames[next].at_ms;
        }
        now = now_ms();
        int ready = epoll_wait(poller, events, EVENTS, due > now ? (int)(due - now) : 0);
        for (int at = 0; at < ready; at++) {
            int fd = events[at].data.fd;
            if (fd == listener) {
                int viewer;
                while ((viewer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (viewer >= FDS) {
                        close(viewer);
                        continue;
                    }
                    event = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.fd = viewer};
                    epoll_ctl(poller, EPOLL_CTL_ADD, viewer, &event);
                    viewers[viewer].state = ASKING;
                }
            } else if (viewers[fd].state == ASKING) {
                begin(fd);
            } else if (events[at].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
                leave(fd);
            } else {
                serve(fd);
            }
        }
    }
}
