/* spread.h: many durations in little room: how many fell into each of logarithmic bands, of which
 * quantiles are read to within a tenth. Pure data. */
#ifndef LH_API_SPREAD_H
#define LH_API_SPREAD_H

#include <stdint.h>

enum { SPREAD_BANDS = 124 }; /* four an octave, up to 2^32 ms */

struct spread {
    uint32_t n;
    uint32_t bands[SPREAD_BANDS];
};

/* Durations below 0 count as 0. */
void spread_add(struct spread *spread, int64_t ms);

/* The duration in ms that this share of them, in thousandths, does not exceed; -1: there are none.
 */
int64_t spread_quantile(const struct spread *spread, unsigned permille);

void spread_clear(struct spread *spread);

#endif
