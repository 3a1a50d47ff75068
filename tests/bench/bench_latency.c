/* bench_latency.c: how long one task at a time takes while nothing else is done.
 *
 *     bench_latency ADDRESS PORT SERVICE COUNT
 *
 * One keep-alive connection: create_task, then result_task that waits, COUNT times, after WARM that
 * are not counted. The module's result has to be the time at which it began, in nanoseconds since
 * 1970 (bench_warm, bench_module). Prints one JSON line: from before create_task's first byte to
 * the module's first line (start), and to the end of the answer with the result (result).
 * $AUTH_TOKEN is sent. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_CAP = 65536, WARM = 20, COUNT_MAX = 10000000, TRIES = 10, ANSWER_S = 90 };

static const char condition[] =
    "{\"id\":1,\"op\":\"echo\",\"user\":\"u-000001\",\"data\":\""
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}";

static char answer[TEXT_CAP + 1];

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_latency: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int open_socket(const char *address, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    struct timeval patience = {.tv_sec = ANSWER_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* How long the whole answer is, or 0 while its headers are not all there. */
static size_t answer_length(void) {
    const char *head_end = strstr(answer, "\r\n\r\n");
    if (!head_end)
        return 0;
    const char *field = strcasestr(answer, "\r\nContent-Length:");
    if (!field || field > head_end)
        die("an answer without Content-Length", answer);
    return (size_t)(head_end + 4 - answer) + strtoul(field + 17, NULL, 10);
}

/* Posts the body; the answer is in `answer`. */
static void post(int fd, const char *route, const char *body) {
    char request[TEXT_CAP];
    int len = snprintf(request, sizeof request,
                       "POST /api/%s HTTP/1.1\r\nHost: bench\r\nAuthorization: %s\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       route, getenv("AUTH_TOKEN") ? getenv("AUTH_TOKEN") : "", strlen(body), body);
    if (write(fd, request, (size_t)len) != len)
        die("write", strerror(errno));
    size_t have = 0, whole = 0;
    while (whole == 0 || have < whole) {
        ssize_t n = read(fd, answer + have, TEXT_CAP - have);
        if (n <= 0)
            die(route, n == 0 ? "the server closed the connection" : strerror(errno));
        have += (size_t)n;
        answer[have] = '\0';
        whole = whole ? whole : answer_length();
    }
}

/* What follows this in the answer; NULL: it is not there. */
static const char *after(const char *what) {
    const char *at = strstr(answer, what);
    return at ? at + strlen(what) : NULL;
}

static void create(int fd, const char *service, char *ret_id, size_t cap) {
    char body[2048];
    snprintf(body, sizeof body, "{\"data\":{\"service\":\"%s\",\"condition\":%s}}", service,
             condition);
    post(fd, "create_task", body);
    const char *id = after("\"task_id\":\"");
    if (!id)
        die("create_task", answer);
    snprintf(ret_id, cap, "%.*s", (int)strcspn(id, "\""), id);
}

/* The result of the task, which it waits for. */
static int64_t wait_result(int fd, const char *id) {
    char body[512];
    snprintf(body, sizeof body, "{\"data\":{\"task_id\":\"%s\"},\"wait_s\":30}", id);
    for (int i = 0; i < TRIES; i++) {
        post(fd, "result_task", body);
        const char *data = after("\"result\":\"ok\",\"data\":");
        if (data)
            return strtoll(data, NULL, 10);
        if (!after("\"NOT_FINISHED\""))
            break;
    }
    die("result_task", answer);
    return 0;
}

static int compare(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static double percentile_ms(int64_t *took_ns, long count, long percent) {
    qsort(took_ns, (size_t)count, sizeof *took_ns, compare);
    return (double)took_ns[count * percent / 100] / 1e6;
}

int main(int argc, char **argv) {
    char id[256];
    long count = argc == 5 ? strtol(argv[4], NULL, 10) : 0;
    if (count < 1 || count > COUNT_MAX) {
        fprintf(stderr, "usage: bench_latency ADDRESS PORT SERVICE COUNT\n");
        return 64;
    }
    int fd = open_socket(argv[1], argv[2]);
    int64_t *start_ns = calloc((size_t)count, sizeof *start_ns);
    int64_t *result_ns = calloc((size_t)count, sizeof *result_ns);
    if (!start_ns || !result_ns)
        die("setup", "out of memory");
    for (long i = -WARM; i < count; i++) {
        int64_t wall_ns = now_ns(CLOCK_REALTIME), begun_ns = now_ns(CLOCK_MONOTONIC);
        create(fd, argv[3], id, sizeof id);
        int64_t module_ns = wait_result(fd, id), end_ns = now_ns(CLOCK_MONOTONIC);
        if (i < 0)
            continue;
        start_ns[i] = module_ns - wall_ns;
        result_ns[i] = end_ns - begun_ns;
    }
    printf("{\"count\":%ld,\"start_p50_ms\":%.3f,\"start_p99_ms\":%.3f,\"result_p50_ms\":%.3f,"
           "\"result_p99_ms\":%.3f}\n",
           count, percentile_ms(start_ns, count, 50), percentile_ms(start_ns, count, 99),
           percentile_ms(result_ns, count, 50), percentile_ms(result_ns, count, 99));
    free(start_ns);
    free(result_ns);
    close(fd);
    return 0;
}
