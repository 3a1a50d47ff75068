/* near.h: "did you mean …": the known word that an unknown one is most likely a slip of. */
#ifndef LH_CONFIG_NEAR_H
#define LH_CONFIG_NEAR_H

#include <stddef.h>

enum { NEAR_WORD_MAX = 48 }; /* longer words are never near anything */

struct near {
    const char *word;             /* the unknown one */
    char best[NEAR_WORD_MAX + 1]; /* "" while nothing is near */
    unsigned distance;
};

void near_init(struct near *near, const char *word);

/* Keeps the candidate (`len` bytes) where it is nearer than the best so far and near enough: one
 * slip in a short word, two in one of five letters or more; upper and lower case are equal. */
void near_offer(struct near *near, const char *candidate, size_t len);

/* The hint with its leading separator, ", did you mean 'x'?", or "". `ret` is also returned. */
enum { NEAR_HINT_CAP = NEAR_WORD_MAX + 32 };
const char *near_hint(const struct near *near, char ret[NEAR_HINT_CAP]);

#endif
