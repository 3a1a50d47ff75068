/* ids.c: time-ordered identifiers. */
#include "base/ids.h"

#include "base/clock.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { POOL_BYTES = 1024 };

static __thread struct {
    uint8_t bytes[POOL_BYTES];
    unsigned left;
} pool;

static void refill(void) {
    size_t have = 0;
    while (have < POOL_BYTES) {
        ssize_t n = getrandom(pool.bytes + have, POOL_BYTES - have, 0);
        if (n > 0)
            have += (size_t)n; /* getrandom fails only with EINTR once the pool is seeded */
    }
    pool.left = POOL_BYTES;
}

void random_bytes(void *to, unsigned len) {
    uint8_t *out = to;
    while (len > 0) {
        if (pool.left == 0)
            refill();
        unsigned n = len < pool.left ? len : pool.left;
        memcpy(out, pool.bytes + POOL_BYTES - pool.left, n);
        pool.left -= n;
        out += n;
        len -= n;
    }
}

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int64_t last_ms;
static unsigned counter;

/* The next (millisecond, 12-bit counter) pair; rises within the process even if the clock steps
 * back. */
static int64_t next_tick(unsigned *ret_counter) {
    int64_t now = clock_now_ms();
    pthread_mutex_lock(&order);
    if (now > last_ms) {
        last_ms = now;
        counter = 0;
    } else if (++counter > 0xfff) {
        last_ms++;
        counter = 0;
    }
    int64_t ms = last_ms;
    *ret_counter = counter;
    pthread_mutex_unlock(&order);
    return ms;
}

static void hex(char *to, const uint8_t *bytes, unsigned n) {
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < n; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
}

void uuid_make(char ret[UUID_CAP]) {
    unsigned count;
    int64_t ms = next_tick(&count);
    uint8_t b[16];
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | count >> 8);
    b[7] = (uint8_t)count;
    random_bytes(b + 8, 8);
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    static const struct {
        unsigned at, from, n;
    } groups[] = {{0, 0, 4}, {9, 4, 2}, {14, 6, 2}, {19, 8, 2}, {24, 10, 6}};
    memset(ret, '-', UUID_CAP - 1);
    for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++)
        hex(ret + groups[i].at, b + groups[i].from, groups[i].n);
    ret[UUID_CAP - 1] = '\0';
}

bool uuid_valid(const char *text) {
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return text[36] == '\0';
}

void task_id_make(const char *service, char ret[TASK_ID_CAP]) {
    char uuid[UUID_CAP];
    uuid_make(uuid);
    snprintf(ret, TASK_ID_CAP, "ts_%.64s_%s", service, uuid);
}

void object_id_make(uint8_t ret[OBJECT_ID_LEN]) {
    static uint8_t process[5];
    static uint32_t next;
    uint32_t seconds = (uint32_t)(clock_now_ms() / 1000);
    pthread_mutex_lock(&order);
    if (next == 0) {
        random_bytes(process, sizeof process);
        random_bytes(&next, sizeof next);
        next |= 1U << 31; /* never 0 again within 2^31 ids */
    }
    uint32_t n = next++;
    pthread_mutex_unlock(&order);
    for (int i = 0; i < 4; i++)
        ret[i] = (uint8_t)(seconds >> (24 - 8 * i));
    memcpy(ret + 4, process, sizeof process);
    for (int i = 0; i < 3; i++)
        ret[9 + i] = (uint8_t)(n >> (16 - 8 * i));
}
