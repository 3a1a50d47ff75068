/* metrics.h: counters, gauges and histograms of one process, told as Prometheus text (0.0.4).
 *
 * A program describes its families in one table. A family whose labels have values that are known
 * from the start has a cell for each combination of them; counting is one or two relaxed atomic
 * additions to a cell, from any thread, without locks or memory. What is known only when somebody
 * asks (how many tasks wait) has a `collect` function, which writes the family's samples then.
 */
#ifndef LH_BASE_METRICS_H
#define LH_BASE_METRICS_H

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum { METRIC_LABELS_MAX = 3 };

struct metric_family;

/* Writes the family's samples with metric_put*(). `arg` is metrics_write()'s. */
typedef void metric_collect(const struct metric_family *family, struct buf *to, void *arg);

struct metric_family {
    const char *name; /* as Prometheus sees it */
    enum metric_kind kind;
    const char *help;                      /* one line, no backslash */
    const char *labels[METRIC_LABELS_MAX]; /* names; NULL: no (more) labels */
    metric_collect *collect;               /* NULL: it has cells */
    bool micros;                           /* cells count microseconds, shown as seconds */
    bool sparse;                           /* a cell is shown once it is not 0 */
    const int64_t *bounds; /* HISTOGRAM: the upper bounds, rising, in the unit of its cells */
    size_t n_bounds;
};

/* The values that a label may have. */
struct metric_label {
    const char *name;
    const char *const *values;
    size_t n;
};

struct metrics;

/* The table and all texts are borrowed; a label that no entry names may only
 * belong to families with `collect`. NULL when out of memory. */
struct metrics *metrics_create(const struct metric_family *families, size_t n_families,
                               const struct metric_label *labels, size_t n_labels);

/* NULL is fine. */
void metrics_destroy(struct metrics *metrics);

/* The cell of these values' places: of the first label, the second … that the family has. */
size_t metrics_cell(const struct metrics *metrics, size_t family, const size_t *places);

/* Adds to a counter or a gauge. Any thread, as the next two; NULL metrics: nothing happens. */
void metrics_add(struct metrics *metrics, size_t family, size_t cell, int64_t n);

/* Sets a gauge. */
void metrics_set(struct metrics *metrics, size_t family, size_t cell, int64_t value);

/* Notes a value in a histogram; below 0 counts as 0. */
void metrics_observe(struct metrics *metrics, size_t family, size_t cell, int64_t value);

/* The value of a counter or a gauge; how many values a histogram has. Any thread. */
int64_t metrics_value(const struct metrics *metrics, size_t family, size_t cell);

/* Appends all families in the table's order. */
void metrics_write(const struct metrics *metrics, struct buf *to, void *arg);

/* Appends the HELP and TYPE lines of a family that stands in no table. */
void metric_put_head(const struct metric_family *family, struct buf *to);

/* Appends one sample, with a value for each label of the family (`values` NULL where it has none).
 */
void metric_put(const struct metric_family *family, const char *const *values, double value,
                struct buf *to);

/* The content type of what metrics_write() writes. */
extern const char metrics_content_type[];

#endif
