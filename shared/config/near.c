/* near.c: edit distance between short words. */
#include "config/near.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void near_init(struct near *near, const char *word) {
    *near = (struct near){.word = word, .distance = UINT_MAX};
}

static bool same(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static unsigned least(unsigned a, unsigned b, unsigned c) {
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Insertions, deletions and replacements from a to b (Levenshtein), a row at a time. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len) {
    unsigned row[NEAR_WORD_MAX + 1];
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned above = row[j];
            unsigned replaced = diagonal + !same(a[i - 1], b[j - 1]);
            row[j] = least(above + 1, row[j - 1] + 1, replaced);
            diagonal = above;
        }
    }
    return row[b_len];
}

void near_offer(struct near *near, const char *candidate, size_t len) {
    size_t word_len = strlen(near->word);
    if (!len || len > NEAR_WORD_MAX || word_len > NEAR_WORD_MAX)
        return;
    unsigned d = distance(near->word, word_len, candidate, len);
    if (d > (len < 5 ? 1 : 2) || d >= near->distance)
        return;
    near->distance = d;
    memcpy(near->best, candidate, len);
    near->best[len] = '\0';
}

const char *near_hint(const struct near *near, char ret[NEAR_HINT_CAP]) {
    ret[0] = '\0';
    if (near->best[0])
        snprintf(ret, NEAR_HINT_CAP, ", did you mean '%s'?", near->best);
    return ret;
}
