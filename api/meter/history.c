/* history.c: rings of steps. */
#include "api/meter/history.h"

#include "api/meter/spread.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { SCALES = 2, STEPS_MIN = 12 };

static const struct {
    int64_t step_ms;
    size_t steps;
} kinds[SCALES] = {{HISTORY_STEP_MS, 360}, {300000, 288}};

enum { FLOWS = HISTORY_FAILED + 1 };

/* The step that has not ended yet. */
struct open_step {
    uint32_t flows[FLOWS];
    struct spread wait, run;
};

/* A value is kept with one added, so that zeroed memory says "not known". */
typedef uint32_t kept;

struct scale {
    int64_t step_ms;
    size_t n;        /* steps kept, the open one among them */
    int64_t current; /* number of the open step since 1970 */
    size_t n_services;
    kept *ring; /* [step number % n][service][series]: what a step writes lies together */
    struct open_step *open;
};

struct history {
    struct scale scales[SCALES];
};

static kept *cell(const struct scale *scale, size_t service, int64_t step) {
    size_t slot = (size_t)(step % (int64_t)scale->n);
    return &scale->ring[(slot * scale->n_services + service) * HISTORY_SERIES];
}

static void keep(kept *to, int64_t value) {
    int64_t most = UINT32_MAX - 1;
    *to = value < 0 ? 0 : (kept)((value < most ? value : most) + 1);
}

/* How many steps of a scale there is room for. */
static size_t steps_for(size_t scale, size_t n_services) {
    size_t all = kinds[0].steps + kinds[1].steps;
    size_t room = HISTORY_MAX_BYTES / (n_services * HISTORY_SERIES * sizeof(kept));
    size_t fair = room >= all ? kinds[scale].steps : kinds[scale].steps * room / all;
    return (fair > STEPS_MIN ? fair : STEPS_MIN) + 1;
}

static bool scale_init(struct scale *scale, size_t kind, size_t n_services, int64_t now_ms) {
    scale->step_ms = kinds[kind].step_ms;
    scale->n = steps_for(kind, n_services);
    scale->n_services = n_services;
    scale->current = now_ms / scale->step_ms;
    scale->ring = calloc(n_services * scale->n, sizeof(kept) * HISTORY_SERIES);
    scale->open = calloc(n_services, sizeof *scale->open);
    return scale->ring && scale->open;
}

struct history *history_create(size_t n_services, int64_t now_ms) {
    struct history *history = calloc(1, sizeof *history);
    if (!history)
        return NULL;
    for (size_t i = 0; i < SCALES; i++)
        if (!scale_init(&history->scales[i], i, n_services, now_ms)) {
            history_destroy(history);
            return NULL;
        }
    return history;
}

void history_destroy(struct history *history) {
    for (size_t i = 0; history && i < SCALES; i++) {
        free(history->scales[i].ring);
        free(history->scales[i].open);
    }
    free(history);
}

/* ---- steps that end ---- */

static void close_step(const struct scale *scale, size_t service) {
    struct open_step *open = &scale->open[service];
    kept *to = cell(scale, service, scale->current);
    for (size_t i = 0; i < FLOWS; i++)
        keep(&to[i], open->flows[i]);
    keep(&to[HISTORY_WAIT_P50], spread_quantile(&open->wait, 500));
    keep(&to[HISTORY_WAIT_P95], spread_quantile(&open->wait, 950));
    keep(&to[HISTORY_RUN_P50], spread_quantile(&open->run, 500));
    keep(&to[HISTORY_RUN_P95], spread_quantile(&open->run, 950));
    memset(open->flows, 0, sizeof open->flows);
    spread_clear(&open->wait);
    spread_clear(&open->run);
}

/* Of steps that this process has slept through nothing is known. */
static void roll(struct scale *scale, int64_t now_ms) {
    int64_t now = now_ms / scale->step_ms;
    if (now <= scale->current)
        return;
    for (size_t i = 0; i < scale->n_services; i++)
        close_step(scale, i);
    int64_t first =
        now - scale->current > (int64_t)scale->n ? now - (int64_t)scale->n + 1 : scale->current + 1;
    for (int64_t step = first; step <= now; step++)
        for (size_t i = 0; i < scale->n_services; i++)
            memset(cell(scale, i, step), 0, sizeof(kept) * HISTORY_SERIES);
    scale->current = now;
}

void history_roll(struct history *history, int64_t now_ms) {
    for (size_t i = 0; i < SCALES; i++)
        roll(&history->scales[i], now_ms);
}

/* ---- what is counted ---- */

static void count_in(struct open_step *open, const struct op_news *news) {
    open->flows[HISTORY_CREATED] += news->created;
    open->flows[HISTORY_CLAIMED] += news->claimed;
    open->flows[HISTORY_FINISHED] += news->finished;
    open->flows[HISTORY_FAILED] += news->failed;
    if (news->wait_ms >= 0)
        spread_add(&open->wait, news->wait_ms);
    if (news->run_ms >= 0)
        spread_add(&open->run, news->run_ms);
}

void history_count(struct history *history, size_t service, const struct op_news *news,
                   int64_t now_ms) {
    if (now_ms / HISTORY_STEP_MS > history->scales[0].current)
        history_roll(history, now_ms);
    for (size_t i = 0; i < SCALES; i++)
        count_in(&history->scales[i].open[service], news);
}

void history_stand(struct history *history, size_t service, const struct store_count *count,
                   int64_t at_ms) {
    int64_t oldest = -1;
    if (count && count->oldest_due_at)
        oldest = at_ms > count->oldest_due_at ? at_ms - count->oldest_due_at : 0;
    for (size_t i = 0; i < SCALES; i++) {
        const struct scale *scale = &history->scales[i];
        int64_t step = (at_ms - 1) / scale->step_ms;
        if (step > scale->current || scale->current - step >= (int64_t)scale->n)
            continue;
        kept *to = cell(scale, service, step);
        keep(&to[HISTORY_WAITING], count ? count->by_status[TASK_WAITING] : 0);
        keep(&to[HISTORY_RUNNING], count ? count->by_status[TASK_RUNNING] : 0);
        keep(&to[HISTORY_OLDEST], oldest);
    }
}

/* ---- reading ---- */

struct history_view history_view(const struct history *history, int64_t span_s) {
    size_t kind = span_s * 1000 > kinds[0].step_ms * (int64_t)kinds[0].steps;
    const struct scale *scale = &history->scales[kind];
    size_t n = (size_t)((span_s * 1000 + scale->step_ms - 1) / scale->step_ms);
    if (n > scale->n - 1)
        n = scale->n - 1;
    return (struct history_view){
        .step_ms = scale->step_ms,
        .from_ms = (scale->current - (int64_t)n) * scale->step_ms,
        .n = n,
        .scale = kind,
    };
}

int64_t history_value(const struct history *history, const struct history_view *view,
                      size_t service, enum history_series series, size_t i) {
    int64_t step = view->from_ms / view->step_ms + (int64_t)i;
    return (int64_t)cell(&history->scales[view->scale], service, step)[series] - 1;
}

const char *history_series_name(enum history_series series, bool *ret_ms) {
    static const char *const names[HISTORY_SERIES] = {
        "created",  "claimed",    "finished",   "failed",    "waiting",  "running",
        "oldest_s", "wait_p50_s", "wait_p95_s", "run_p50_s", "run_p95_s"};
    *ret_ms = series >= HISTORY_OLDEST;
    return names[series];
}
