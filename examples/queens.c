/* queens.c: a shared object (kind: shared_object) that counts the ways to set N queens on a board
 * of N by N so that none attacks another. Condition: {"n": N}, N from 1 to 16; result: {"n",
 * "solutions"}. Progress goes out after every square of the first row. */
#include <longhaul.h>

#include <stdint.h>
#include <stdio.h>

enum { N_MAX = 16 };

/* The ways to fill the rows that are left; a set bit is a square that is attacked: in its column,
 * or on one of the diagonals. */
static uint64_t count(uint32_t all, uint32_t columns, uint32_t left, uint32_t right) {
    if (columns == all)
        return 1;
    uint64_t solutions = 0;
    for (uint32_t open = all & ~(columns | left | right); open; open &= open - 1) {
        uint32_t square = open & -open;
        solutions += count(all, columns | square, (left | square) << 1, (right | square) >> 1);
    }
    return solutions;
}

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    int n, end = 0;
    if (sscanf(task->condition, " { \"n\" : %d } %n", &n, &end) != 1 ||
        (size_t)end != task->condition_len || n < 1 || n > N_MAX)
        return longhaul_error(run, LONGHAUL_FATAL,
                              "the condition must be {\"n\": N}, N from 1 to 16");
    uint64_t solutions = 0;
    for (int column = 0; column < n; column++) {
        if (longhaul_cancelled(run))
            return longhaul_error(run, LONGHAUL_RETRYABLE, "stopped");
        uint32_t square = 1u << column;
        solutions += count((1u << n) - 1, square, square << 1, square >> 1);
        longhaul_progress(run, column + 1, n, NULL);
    }
    char result[64];
    snprintf(result, sizeof result, "{\"n\": %d, \"solutions\": %llu}", n,
             (unsigned long long)solutions);
    return longhaul_result(run, result);
}
