/* Asks a DNS server as fast as it answers, checks every answer, and reports. Used by benchmarks/dns.py.

   dns_load PORT SECONDS OUTSTANDING QUERIES

   QUERIES: a file of packed messages, each after its length as two bytes, most significant first. They are asked round and
   round. OUTSTANDING questions are under way at any time, over SOCKETS sockets, so the server always finds a batch waiting.
   An answer counts if it carries the question's id, is a response without error, and has an answer record. A question that is
   not answered within a second is lost, and asked again. Prints: answered lost wrong seconds. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOCKETS = 8, BATCH = 64, ANSWER_MAX = 4096, QUERY_MAX = 512 };

struct query {
    unsigned length;
    unsigned char bytes[QUERY_MAX];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: dns_load PORT SECONDS OUTSTANDING QUERIES\n");
        return 2;
    }
    double seconds = atof(argv[2]);
    unsigned window = atoi(argv[3]) / SOCKETS;

    static struct query *queries;
    unsigned count = 0, room = 0;
    FILE *file = fopen(argv[4], "rb");
    if (!file) fail(argv[4]);
    for (int high; (high = fgetc(file)) != EOF;) {
        if (count == room && !(queries = realloc(queries, (room = room ? 2 * room : 1024) * sizeof *queries))) fail("realloc");
        struct query *query = &queries[count++];
        query->length = high << 8 | fgetc(file);
        if (query->length > QUERY_MAX || fread(query->bytes, 1, query->length, file) != query->length) fail("bad QUERIES");
    }
    if (!count || !window) fail("nothing to ask");

    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct pollfd sockets[SOCKETS];
    unsigned under_way[SOCKETS] = {0}, next_id[SOCKETS] = {0};
    double heard[SOCKETS];
    for (int i = 0; i < SOCKETS; i++) {
        int size = 4 << 20;
        sockets[i] = (struct pollfd){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), .events = POLLIN};
        if (sockets[i].fd < 0 || connect(sockets[i].fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
        setsockopt(sockets[i].fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }

    static unsigned char asked[BATCH][QUERY_MAX], answered[BATCH][ANSWER_MAX];
    struct mmsghdr out[BATCH] = {0}, in[BATCH] = {0};
    struct iovec out_bytes[BATCH], in_bytes[BATCH];
    for (int k = 0; k < BATCH; k++) {
        out_bytes[k].iov_base = asked[k];
        in_bytes[k] = (struct iovec){answered[k], ANSWER_MAX};
        out[k].msg_hdr = (struct msghdr){.msg_iov = &out_bytes[k], .msg_iovlen = 1};
        in[k].msg_hdr = (struct msghdr){.msg_iov = &in_bytes[k], .msg_iovlen = 1};
    }

    unsigned long right = 0, wrong = 0, lost = 0;
    unsigned turn = 0;
    double start = now(), end = start + seconds, time = start;
    for (int i = 0; i < SOCKETS; i++) heard[i] = start;
    while (time < end) {
        for (int i = 0; i < SOCKETS; i++) {
            while (under_way[i] < window) {
                unsigned some = window - under_way[i] < BATCH ? window - under_way[i] : BATCH;
                for (unsigned k = 0; k < some; k++) {
                    struct query *query = &queries[turn++ % count];
                    uint16_t id = htons(next_id[i] + k);
                    memcpy(asked[k], query->bytes, query->length);
                    memcpy(asked[k], &id, 2);
                    out_bytes[k].iov_len = query->length;
                }
                int sent = sendmmsg(sockets[i].fd, out, some, 0);
                if (sent <= 0) break;
                under_way[i] += sent;
                next_id[i] += sent;
            }
        }
        poll(sockets, SOCKETS, 100);
        time = now();
        for (int i = 0; i < SOCKETS; i++) {
            int got = sockets[i].revents & POLLIN ? recvmmsg(sockets[i].fd, in, BATCH, 0, NULL) : 0;
            for (int k = 0; k < got; k++) {
                unsigned char *a = answered[k];
                uint16_t age = (uint16_t)(next_id[i] - 1) - (uint16_t)(a[0] << 8 | a[1]);
                int good = in[k].msg_len > 12 && age < 4 * window && (a[2] & 0x80) && !(a[3] & 15) && (a[6] | a[7]);
                good ? right++ : wrong++;
                if (under_way[i]) under_way[i]--;
            }
            if (got > 0) heard[i] = time;
            if (under_way[i] && time - heard[i] > 1) {
                lost += under_way[i];
                under_way[i] = 0;
                heard[i] = time;
            }
        }
    }
    printf("%lu %lu %lu %.3f\n", right, lost, wrong, time - start);
    return 0;
}
