/* A mock upstream and a load generator that cost less than what is measured: one thread and epoll each.
 *
 *   native serve CHUNKS GAP_US         prints its port; answers 1 KB, or a stream of CHUNKS where the body asks for one
 *   native load PORT PATH KEY BODY CONNECTIONS SECONDS RATE
 *                                      BODY as it is, or of the file @NAME; RATE requests a second whatever comes back, or 0: as many as come back
 *
 * `load` prints one JSON object. At a rate, a delay counts from when a request was due, also while all connections are
 * busy, so that a server which stops for a second is charged for all that was due in it (no coordinated omission).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 2048, ROOM = 1 << 21, EVENTS = 256 };

struct peer {
    int fd, busy, chunked, left;      /* left: chunks still to send */
    int64_t due, first;               /* when the request was due, when the first byte of its body came */
    size_t have, need;
    char tail[8];
    char *in;
};

static struct peer peers[MOST];

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static void send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) continue;
        if (sent <= 0) return;
        data += sent, size -= sent;
    }
}

static struct peer *added(int epoll, int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (struct peer *peer = peers; peer < peers + MOST; peer++) {
        if (peer->fd) continue;
        char *in = peer->in ? peer->in : malloc(ROOM);
        *peer = (struct peer){.fd = fd, .in = in};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        return peer;
    }
    fail("too many connections");
}

/* The size of a whole message at the start of `in`, 0 while it is incomplete. */
static size_t whole(struct peer *peer) {
    peer->in[peer->have] = 0;
    char *end = strstr(peer->in, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(peer->in, "\r\ncontent-length:");
    size_t size = end + 4 - peer->in + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    return peer->have >= size ? size : 0;
}

static char answer[4096];
static size_t answer_size;
static const char *stream_head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static void send_event(int fd, const char *json) {
    char event[512], chunk[600];
    int size = snprintf(event, sizeof event, "data: %s\n\n", json);
    size = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", size, event);
    send_all(fd, chunk, size);
}

static void stream_on(struct peer *peer) {
    if (--peer->left > 0) {
        send_event(peer->fd, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","
                             "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}");
        return;
    }
    send_event(peer->fd, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","
                         "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
    send_event(peer->fd, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\","
                         "\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":200,\"total_tokens\":220}}");
    send_event(peer->fd, "[DONE]");
    send_all(peer->fd, "0\r\n\r\n", 5);
}

static void prepare_answer(void) {
    char text[1024], body[2048];
    memset(text, 'a', 700);
    text[700] = 0;
    int size = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m-1\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":200,\"total_tokens\":220}}", text);
    answer_size = snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, body);
}

static void heard(struct peer *peer, int chunks) {
    for (size_t size; (size = whole(peer)); ) {
        if (strstr(peer->in, "\"stream\":true")) {
            send_all(peer->fd, stream_head, strlen(stream_head));
            peer->left = chunks + 1, peer->due = now_ns();
        } else {
            send_all(peer->fd, answer, answer_size);
        }
        memmove(peer->in, peer->in + size, peer->have -= size);
    }
}

static _Noreturn void serve(int chunks, int64_t gap_ns) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    prepare_answer();
    struct epoll_event events[EVENTS], listening = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
    for (int streams = 0;;) {
        int count = epoll_wait(epoll, events, EVENTS, streams ? 1 : -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (!peer) {
                added(epoll, accept4(listener, NULL, NULL, SOCK_NONBLOCK));
                continue;
            }
            ssize_t got = recv(peer->fd, peer->in + peer->have, ROOM - 1 - peer->have, 0);
            if (got > 0) {
                peer->have += got;
                heard(peer, chunks);
            } else if (got == 0 || errno != EAGAIN) {
                close(peer->fd);
                peer->fd = peer->left = 0;
            }
        }
        int64_t now = now_ns();
        streams = 0;
        for (struct peer *peer = peers; peer < peers + MOST; peer++) {
            if (peer->fd && peer->left && peer->due <= now) stream_on(peer), peer->due += gap_ns;
            streams += peer->fd && peer->left;
        }
    }
}

static int64_t *delays, *firsts;
static long done, errors, events_seen, bytes_seen;

static void record(struct peer *peer, int64_t now) {
    delays[done] = now - peer->due;
    firsts[done++] = peer->first - peer->due;
    peer->busy = 0;
    peer->have = 0;
    memset(peer->tail, 0, sizeof peer->tail);
}

/* Takes in what came; a stream is counted and thrown away, another answer kept until it is whole. */
static void taken(struct peer *peer, ssize_t got, int64_t now) {
    bytes_seen += got;
    if (!peer->chunked) {
        peer->have += got;
        peer->in[peer->have] = 0;
        char *end = strstr(peer->in, "\r\n\r\n");
        if (!end) return;
        if (!peer->first) {
            peer->first = now;
            if (strncmp(peer->in, "HTTP/1.1 200", 12) && !errors++) fprintf(stderr, "%s\n", peer->in);
        }
        if (!strcasestr(peer->in, "transfer-encoding: chunked")) {
            if (whole(peer)) record(peer, now);
            return;
        }
        peer->chunked = 1;
        got = peer->in + peer->have - (end + 4);
        memmove(peer->in, end + 4, got);
        peer->first = got ? now : 0;
    } else if (!peer->first) {
        peer->first = now;
    }
    peer->in[got] = 0;
    for (char *at = peer->in; (at = memmem(at, peer->in + got - at, "data: ", 6)); at += 6) events_seen++;
    for (ssize_t i = got > 7 ? got - 7 : 0; i < got; i++) {
        memmove(peer->tail, peer->tail + 1, 6);
        peer->tail[6] = peer->in[i];
    }
    peer->have = 0;
    if (!memcmp(peer->tail, "\r\n0\r\n\r\n", 7)) {
        peer->chunked = 0;
        record(peer, now);
    }
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double at_ms(int64_t *sorted, double share) {
    return done ? sorted[(long)((done - 1) * share)] / 1e6 : 0;
}

static char *body_of(char *word) {
    if (*word != '@') return word;
    FILE *file = fopen(word + 1, "rb");
    char *body = calloc(1, ROOM);
    if (!file || !fread(body, 1, ROOM - 1024, file)) fail(word);
    fclose(file);
    return body;
}

static int load(char **argv) {
    int connections = atoi(argv[4]);
    double seconds = atof(argv[5]), rate = atof(argv[6]);
    static char request[ROOM];
    char *body = body_of(argv[3]);
    int size = snprintf(request, sizeof request,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "Accept: application/json\r\nUser-Agent: bench\r\nContent-Length: %zu\r\n\r\n%s",
        argv[1], argv[2], strlen(body), body);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[0])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&address, sizeof address)) fail("connect");
        added(epoll, fd);
    }
    delays = malloc(20000000 * sizeof *delays), firsts = malloc(20000000 * sizeof *firsts);
    struct epoll_event events[EVENTS];
    int64_t begun = now_ns(), end = begun + seconds * 1e9, step = rate ? 1e9 / rate : 0, due = begun, now = begun;
    int busy = 0;
    while (now < end || busy) {
        for (struct peer *peer = peers; now < end && peer < peers + connections; peer++) {
            if (peer->busy || (rate && due > now)) continue;
            peer->busy = 1, peer->first = 0, peer->due = rate ? due : now;
            due += step;
            send_all(peer->fd, request, size);
        }
        int64_t wait_ns = !rate || now >= end ? 100000000 : due > now ? due - now : 0;
        struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
        int count = epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
        now = now_ns();
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            ssize_t got = recv(peer->fd, peer->in + peer->have, ROOM - 1 - peer->have, 0);
            if (got <= 0) fail("the server hung up");
            taken(peer, got, now);
        }
        busy = 0;
        for (int i = 0; i < connections; i++) busy += peers[i].busy;
        if (now > end + 30000000000LL) fail("answers are missing");
    }
    double took = (now_ns() - begun) / 1e9;
    qsort(delays, done, sizeof *delays, by_size);
    qsort(firsts, done, sizeof *firsts, by_size);
    printf("{\"requests\": %ld, \"errors\": %ld, \"seconds\": %.6f, \"events\": %ld, \"bytes\": %ld, \"p50_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"p999_ms\": %.4f, \"first_p50_ms\": %.4f, \"first_p99_ms\": %.4f}\n",
           done, errors, took, events_seen, bytes_seen, at_ms(delays, .5), at_ms(delays, .99), at_ms(delays, .999),
           at_ms(firsts, .5), at_ms(firsts, .99));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "serve")) serve(atoi(argv[2]), atoll(argv[3]) * 1000);
    if (argc == 9 && !strcmp(argv[1], "load")) return load(argv + 2);
    fprintf(stderr, "native serve CHUNKS GAP_US | native load PORT PATH KEY BODY CONNECTIONS SECONDS RATE\n");
    return 2;
}
