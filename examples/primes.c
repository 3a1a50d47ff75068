/* primes.c: counts the primes below a number. Condition: {"below": N}, N at most 10^12; result:
 * {"below", "primes", "largest"}, largest null without any. Progress goes out after every segment.
 * C11 and the C library only.
 *
 * A segmented sieve: the odd numbers of one segment at a time, crossed out by the primes up to the
 * square root.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    SEGMENT = 1 << 20,
    TASK_MAX_BYTES = 1 << 16
}; /* numbers of one segment; bytes of the Task JSON */

static const uint64_t below_max = UINT64_C(1000000000000);

struct sieve {
    uint32_t *bases; /* odd primes up to the square root of `below` */
    size_t n_bases;
    char *crossed; /* of one segment, one for each odd number */
    uint64_t count, largest;
};

static FILE *open_report(void) {
    const char *number = getenv("LONGHAUL_REPORT_FD");
    return number ? fdopen((int)strtol(number, NULL, 10), "w") : stdout;
}

/* Finds {"below": N} in the Task JSON, which comes without white space in it. */
static bool read_below(uint64_t *ret) {
    static char task[TASK_MAX_BYTES];
    static const char before[] = "\"condition\":{\"below\":";
    task[fread(task, 1, sizeof task - 1, stdin)] = '\0';
    const char *at = strstr(task, before);
    if (!at || at[sizeof before - 1] < '0' || at[sizeof before - 1] > '9')
        return false;
    char *end;
    errno = 0;
    *ret = strtoull(at + sizeof before - 1, &end, 10);
    return errno == 0 && *end == '}' && *ret <= below_max;
}

/* The odd primes up to `limit`, by a plain sieve. */
static bool find_bases(struct sieve *sieve, uint32_t limit) {
    char *crossed = calloc(limit + 1, 1);
    sieve->bases = calloc(limit / 2 + 1, sizeof *sieve->bases);
    sieve->crossed = malloc(SEGMENT / 2);
    for (uint32_t n = 3; crossed && sieve->bases && n <= limit; n += 2) {
        if (crossed[n])
            continue;
        sieve->bases[sieve->n_bases++] = n;
        for (uint64_t multiple = (uint64_t)n * n; multiple <= limit; multiple += 2 * n)
            crossed[multiple] = 1;
    }
    bool ok = crossed && sieve->bases && sieve->crossed;
    free(crossed);
    return ok;
}

static void take(struct sieve *sieve, uint64_t prime) {
    sieve->count++;
    sieve->largest = prime;
}

/* Counts the odd primes of [from, to); from is even. */
static void count_segment(struct sieve *sieve, uint64_t from, uint64_t to) {
    memset(sieve->crossed, 0, SEGMENT / 2);
    for (size_t i = 0; i < sieve->n_bases; i++) {
        uint64_t prime = sieve->bases[i], first = prime * prime;
        if (first >= to)
            break;
        if (first < from)
            first += (from - first + 2 * prime - 1) / (2 * prime) * (2 * prime);
        for (uint64_t n = first; n < to; n += 2 * prime)
            sieve->crossed[(n - from) / 2] = 1;
    }
    for (uint64_t n = from + 1; n < to; n += 2)
        if (n > 1 && !sieve->crossed[(n - from) / 2])
            take(sieve, n);
}

static void count_all(struct sieve *sieve, uint64_t below, FILE *report) {
    if (below > 2)
        take(sieve, 2);
    for (uint64_t from = 0; from < below; from += SEGMENT) {
        uint64_t to = below - from > SEGMENT ? from + SEGMENT : below;
        count_segment(sieve, from, to);
        fprintf(report, "{\"progress\":{\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}}\n", to, below);
        fflush(report);
    }
}

static void put_result(const struct sieve *sieve, uint64_t below, FILE *report) {
    fprintf(report, "{\"result\":{\"below\":%" PRIu64 ",\"primes\":%" PRIu64 ",\"largest\":", below,
            sieve->count);
    if (sieve->count)
        fprintf(report, "%" PRIu64 "}}\n", sieve->largest);
    else
        fputs("null}}\n", report);
}

int main(void) {
    FILE *report = open_report();
    uint64_t below;
    struct sieve sieve = {0};
    if (!report)
        return EX_USAGE;
    if (!read_below(&below)) {
        fputs(
            "{\"error\":{\"class\":\"fatal\",\"text\":\"the condition must be {\\\"below\\\": N}, "
            "N from 0 to 1000000000000\"}}\n",
            report);
        return 0;
    }
    if (!find_bases(&sieve, (uint32_t)sqrt((double)below) + 1)) {
        fputs("out of memory\n", stderr);
        return EX_TEMPFAIL;
    }
    count_all(&sieve, below, report);
    put_result(&sieve, below, report);
    free(sieve.bases);
    free(sieve.crossed);
    return fclose(report) == 0 ? 0 : EX_IOERR;
}
