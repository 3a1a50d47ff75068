/* spread.c: bands of durations, four an octave. */
#include "api/meter/spread.h"

#include <string.h>

enum { QUARTERS = 4 };

/* 0, 1, 2, 3 have bands of their own; from 4 on an octave is cut in four. */
static unsigned band_of(int64_t ms) {
    if (ms < QUARTERS)
        return ms < 0 ? 0 : (unsigned)ms;
    if (ms > UINT32_MAX)
        ms = UINT32_MAX;
    unsigned octave = 63 - (unsigned)__builtin_clzll((unsigned long long)ms);
    return (octave - 1) * QUARTERS + (unsigned)(ms >> (octave - 2)) % QUARTERS;
}

/* The first duration of a band. */
static int64_t band_begin(unsigned band) {
    if (band < QUARTERS)
        return band;
    unsigned octave = band / QUARTERS + 1;
    return (int64_t)(QUARTERS + band % QUARTERS) << (octave - 2);
}

void spread_add(struct spread *spread, int64_t ms) {
    spread->n++;
    spread->bands[band_of(ms)]++;
}

int64_t spread_quantile(const struct spread *spread, unsigned permille) {
    if (spread->n == 0)
        return -1;
    uint64_t rank = ((uint64_t)spread->n * permille + 999) / 1000, seen = 0;
    unsigned band = 0;
    while (band < SPREAD_BANDS - 1 && seen + spread->bands[band] < rank)
        seen += spread->bands[band++];
    int64_t begin = band_begin(band), width = band_begin(band + 1) - begin;
    return begin + (int64_t)((uint64_t)(width - 1) * (rank - seen) / (spread->bands[band] + 1));
}

void spread_clear(struct spread *spread) {
    if (spread->n > 0)
        memset(spread, 0, sizeof *spread);
}
