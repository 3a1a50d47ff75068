/* bench_http.c: sends requests on N keep-alive connections, COUNT times in all, and prints one JSON
 * line.
 *
 *     bench_http ADDRESS PORT PATH CONNECTIONS COUNT [BODY | @FILE]
 *
 * With a body: POST, and $AUTH_TOKEN is sent. @FILE: one body a line, taken in turns. One thread,
 * epoll, one request under way per connection. A time is from the request's first byte to the
 * answer's last. An answer other than 200 with "result":"ok" is an error, counted and shown once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_CAP = 1 << 20, CONNECTIONS_MAX = 1000, COUNT_MAX = 10000000, STALL_MS = 30000 };

struct request {
    char *text;
    size_t len;
};

struct connection {
    int fd;
    int64_t sent_ns;
    const struct request *request;
    size_t written; /* of the request; all of it while none is under way */
    size_t len;     /* of the answer so far */
    char answer[ANSWER_CAP + 1];
};

struct bench {
    struct request *requests;
    long n_requests;
    long count, started, ended, errors;
    int64_t *took_ns; /* of each ended request */
    int epoll;
    struct connection *connections;
    int n_connections;
};

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "bench_http: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long number(const char *text, long max) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > max) {
        fprintf(stderr, "bench_http: %s is not a number from 1 to %ld\n", text, max);
        exit(64);
    }
    return value;
}

static void add_request(struct bench *bench, const char *path, const char *body) {
    const char *token = getenv("AUTH_TOKEN");
    struct request *request;
    bench->requests = reallocarray(bench->requests, (size_t)bench->n_requests + 1, sizeof *request);
    if (!bench->requests)
        die("request");
    request = &bench->requests[bench->n_requests++];
    int len = body ? asprintf(&request->text,
                              "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: %s\r\n"
                              "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                              path, token ? token : "", strlen(body), body)
                   : asprintf(&request->text, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    if (len < 0)
        die("request");
    request->len = (size_t)len;
}

static void read_requests(struct bench *bench, const char *path, const char *name) {
    FILE *file = fopen(name, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    if (!file)
        die(name);
    while ((len = getline(&line, &cap, file)) > 0) {
        line[strcspn(line, "\n")] = '\0';
        add_request(bench, path, line);
    }
    free(line);
    fclose(file);
    if (bench->n_requests == 0) {
        fprintf(stderr, "bench_http: %s has no line\n", name);
        exit(1);
    }
}

static void write_request(struct connection *connection) {
    const struct request *request = connection->request;
    while (request && connection->written < request->len) {
        ssize_t n = write(connection->fd, request->text + connection->written,
                          request->len - connection->written);
        if (n < 0 && errno == EAGAIN)
            return; /* goes on when the socket is writable: it is watched for that, edge-triggered
                     */
        if (n < 0)
            die("write");
        connection->written += (size_t)n;
    }
}

/* Begins the connection's next request, if one is left. */
static void next_request(struct bench *bench, struct connection *connection) {
    if (bench->started == bench->count)
        return;
    connection->request = &bench->requests[bench->started++ % bench->n_requests];
    connection->written = connection->len = 0;
    connection->sent_ns = now_ns();
    write_request(connection);
}

/* The length of the whole answer, or 0 while its headers are not all there. */
static size_t answer_length(const char *answer) {
    const char *head_end = strstr(answer, "\r\n\r\n");
    if (!head_end)
        return 0;
    const char *field = strcasestr(answer, "\r\nContent-Length:");
    if (!field || field > head_end) {
        fprintf(stderr, "bench_http: an answer without Content-Length\n");
        exit(1);
    }
    return (size_t)(head_end + 4 - answer) + strtoul(field + 17, NULL, 10);
}

static void note_answer(struct bench *bench, struct connection *connection) {
    bench->took_ns[bench->ended++] = now_ns() - connection->sent_ns;
    bool ok = strncmp(connection->answer, "HTTP/1.1 200 ", 13) == 0 &&
              strstr(connection->answer, "\"result\":\"ok\"");
    if (!ok && bench->errors++ == 0)
        fprintf(stderr, "bench_http: the first bad answer:\n%s\n", connection->answer);
}

static void read_answer(struct bench *bench, struct connection *connection) {
    for (;;) {
        ssize_t n = read(connection->fd, connection->answer + connection->len,
                         ANSWER_CAP - connection->len);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die(n == 0 ? "the server closed a connection" : "read");
        connection->len += (size_t)n;
        connection->answer[connection->len] = '\0';
        size_t whole = answer_length(connection->answer);
        if (whole == 0 || connection->len < whole)
            continue;
        note_answer(bench, connection);
        next_request(bench, connection);
    }
}

static int open_socket(const char *address, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)number(port, 65535))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
    return fd;
}

static void open_connections(struct bench *bench, const char *address, const char *port) {
    bench->epoll = epoll_create1(EPOLL_CLOEXEC);
    bench->connections = calloc((size_t)bench->n_connections, sizeof *bench->connections);
    bench->took_ns = calloc((size_t)bench->count, sizeof *bench->took_ns);
    if (bench->epoll < 0 || !bench->connections || !bench->took_ns)
        die("setup");
    for (int i = 0; i < bench->n_connections; i++) {
        struct connection *connection = &bench->connections[i];
        connection->fd = open_socket(address, port);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        if (epoll_ctl(bench->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
            die("epoll");
    }
}

static void run(struct bench *bench) {
    struct epoll_event events[64];
    for (int i = 0; i < bench->n_connections; i++)
        next_request(bench, &bench->connections[i]);
    while (bench->ended < bench->count) {
        int n = epoll_wait(bench->epoll, events, 64, STALL_MS);
        if (n == 0) {
            fprintf(stderr, "bench_http: no answer for %d ms\n", STALL_MS);
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;
            write_request(connection);
            read_answer(bench, connection);
        }
    }
}

static int compare(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void print_line(struct bench *bench, int64_t whole_ns) {
    qsort(bench->took_ns, (size_t)bench->count, sizeof *bench->took_ns, compare);
    printf("{\"connections\":%d,\"count\":%ld,\"errors\":%ld,\"s\":%.3f,\"per_s\":%.1f,"
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n",
           bench->n_connections, bench->count, bench->errors, (double)whole_ns / 1e9,
           (double)bench->count * 1e9 / (double)whole_ns,
           (double)bench->took_ns[bench->count / 2] / 1e6,
           (double)bench->took_ns[bench->count * 99 / 100] / 1e6);
}

int main(int argc, char **argv) {
    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: bench_http ADDRESS PORT PATH CONNECTIONS COUNT [BODY | @FILE]\n");
        return 64;
    }
    struct bench bench = {.n_connections = (int)number(argv[4], CONNECTIONS_MAX),
                          .count = number(argv[5], COUNT_MAX)};
    if (argc > 6 && argv[6][0] == '@')
        read_requests(&bench, argv[3], argv[6] + 1);
    else
        add_request(&bench, argv[3], argc > 6 ? argv[6] : NULL);
    open_connections(&bench, argv[1], argv[2]);
    int64_t begun_ns = now_ns();
    run(&bench);
    print_line(&bench, now_ns() - begun_ns);
    return bench.errors > 0;
}
