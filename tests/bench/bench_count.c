/* bench_count.c: counts what a process says to MongoDB and Kafka. Loaded with LD_PRELOAD.
 *
 * sendmsg() is how both drivers send (write() and send(), which they have besides, are not used
 * without TLS), recv() and recvmsg() how they receive. Both protocols put a length before each
 * message, so the messages are counted whole, however many calls they take: those of MongoDB by the
 * name of the command, those of Kafka by the number of the request. The sums lie in the file that
 * $BENCH_COUNT_FILE names, mapped, so that they can be read at any time; the layout is read by
 * cluster.py. $BENCH_COUNT_MONGO and $BENCH_COUNT_KAFKA are the ports.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS = 4096, HEAD = 64, NAMES = 32, NAME_CAP = 24, APIS = 128 };
enum { MONGO_CODE = 12, MONGO_KIND = 20, MONGO_NAME = 26 };

enum peer { PEER_UNKNOWN, PEER_OTHER, PEER_MONGO, PEER_KAFKA, PEERS };

struct counts {
    _Atomic int64_t sent[PEERS], received[PEERS]; /* bytes */
    _Atomic int64_t requests[APIS];               /* of Kafka, by their number */
    struct {
        char name[NAME_CAP];
        _Atomic int64_t n;
    } commands[NAMES]; /* of MongoDB */
};

/* A connection; one thread at a time sends on it. */
struct stream {
    enum peer peer;
    unsigned char head[HEAD]; /* of the message under way */
    size_t seen;              /* bytes of it, its length among them; 0: between two */
    size_t whole;             /* its bytes; 0: the length is not all there */
};

static struct counts *counts;
static struct stream streams[FDS];
static atomic_flag naming = ATOMIC_FLAG_INIT;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("BENCH_COUNT_FILE");
    int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof *counts) == 0) {
        void *at = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        counts = at == MAP_FAILED ? NULL : at;
    }
    close(fd);
}

static bool is_port(const char *variable, uint16_t port) {
    const char *text = getenv(variable);
    return text && strtol(text, NULL, 10) == port;
}

static enum peer peer_of(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_storage room;
    } to;
    socklen_t len = sizeof to;
    if (getpeername(fd, &to.any, &len) != 0)
        return PEER_UNKNOWN;
    if (to.any.sa_family != AF_INET && to.any.sa_family != AF_INET6)
        return PEER_OTHER;
    uint16_t port = ntohs(to.any.sa_family == AF_INET ? to.in4.sin_port : to.in6.sin6_port);
    return is_port("BENCH_COUNT_MONGO", port)   ? PEER_MONGO
           : is_port("BENCH_COUNT_KAFKA", port) ? PEER_KAFKA
                                                : PEER_OTHER;
}

static struct stream *stream_of(int fd) {
    if (!counts || fd < 0 || fd >= FDS)
        return NULL;
    struct stream *stream = &streams[fd];
    if (stream->peer == PEER_UNKNOWN)
        stream->peer = peer_of(fd);
    return stream;
}

static void count_command(const char *name) {
    while (atomic_flag_test_and_set(&naming))
        ;
    for (int i = 0; i < NAMES; i++) {
        if (!counts->commands[i].name[0])
            snprintf(counts->commands[i].name, NAME_CAP, "%.*s", NAME_CAP - 1, name);
        if (strncmp(counts->commands[i].name, name, NAME_CAP - 1) == 0) {
            counts->commands[i].n++;
            break;
        }
    }
    atomic_flag_clear(&naming);
}

/* The first key of an OP_MSG's document. The driver greets by OP_QUERY (2004). */
static void count_mongo(const struct stream *stream) {
    static const unsigned char query[] = {2004 & 255, 2004 >> 8, 0, 0};
    char name[HEAD + 1] = "?";
    if (memcmp(stream->head + MONGO_CODE, query, sizeof query) == 0) {
        memcpy(name, "hello", sizeof "hello");
    } else if (stream->seen > MONGO_NAME && stream->head[MONGO_KIND] == 0) {
        size_t len = stream->seen < HEAD ? stream->seen : HEAD;
        memcpy(name, stream->head + MONGO_NAME, len - MONGO_NAME);
        name[len - MONGO_NAME] = '\0';
    }
    count_command(name);
}

static void count_message(const struct stream *stream) {
    if (stream->peer == PEER_MONGO)
        count_mongo(stream);
    else if (stream->seen > 5 && stream->head[4] == 0 && stream->head[5] < APIS)
        counts->requests[stream->head[5]]++;
}

static size_t length_of(const struct stream *stream) {
    const unsigned char *at = stream->head;
    if (stream->peer == PEER_MONGO)
        return (size_t)at[3] << 24 | (size_t)at[2] << 16 | (size_t)at[1] << 8 | at[0];
    return ((size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3]) + 4;
}

/* Takes from the message under way what there is; returns how much that was. */
static size_t follow(struct stream *stream, const unsigned char *at, size_t n) {
    size_t left = (stream->whole ? stream->whole : 4) - stream->seen;
    size_t take = n < left ? n : left;
    if (stream->seen < HEAD) {
        size_t room = HEAD - stream->seen;
        memcpy(stream->head + stream->seen, at, take < room ? take : room);
    }
    stream->seen += take;
    if (!stream->whole && stream->seen == 4)
        stream->whole = length_of(stream);
    if (stream->whole && stream->seen >= stream->whole) {
        count_message(stream);
        stream->seen = stream->whole = 0;
    }
    return take;
}

static void follow_all(struct stream *stream, const struct msghdr *message, size_t n) {
    for (size_t i = 0; n > 0 && i < message->msg_iovlen; i++) {
        const unsigned char *at = message->msg_iov[i].iov_base;
        size_t len = message->msg_iov[i].iov_len < n ? message->msg_iov[i].iov_len : n;
        n -= len;
        while (len > 0) {
            size_t took = follow(stream, at, len);
            at += took;
            len -= took;
        }
    }
}

/* The function that stands behind ours. */
static void find_next(const char *name, void *ret) {
    void *at = dlsym(RTLD_NEXT, name);
    memcpy(ret, &at, sizeof at);
}

int close(int fd) {
    static int (*real)(int);
    if (!real)
        find_next("close", &real);
    if (fd >= 0 && fd < FDS)
        streams[fd] = (struct stream){0};
    return real(fd);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    if (!real)
        find_next("sendmsg", &real);
    ssize_t n = real(fd, message, flags);
    struct stream *stream = n > 0 ? stream_of(fd) : NULL;
    if (stream)
        counts->sent[stream->peer] += n;
    if (stream && stream->peer >= PEER_MONGO)
        follow_all(stream, message, (size_t)n);
    return n;
}

static ssize_t received(int fd, ssize_t n) {
    struct stream *stream = n > 0 ? stream_of(fd) : NULL;
    if (stream)
        counts->received[stream->peer] += n;
    return n;
}

ssize_t recv(int fd, void *to, size_t len, int flags) {
    static ssize_t (*real)(int, void *, size_t, int);
    if (!real)
        find_next("recv", &real);
    return received(fd, real(fd, to, len, flags));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    static ssize_t (*real)(int, struct msghdr *, int);
    if (!real)
        find_next("recvmsg", &real);
    return received(fd, real(fd, message, flags));
}
