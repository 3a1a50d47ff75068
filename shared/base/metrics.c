/* metrics.c: cells of numbers, and their text. */
#include "base/metrics.h"

#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char metrics_content_type[] = "text/plain; version=0.0.4; charset=utf-8";

typedef _Atomic int64_t number;

/* Where a family's numbers stand. A cell of a histogram has one for each bound, one for what is
 * above all bounds, and the sum. */
struct place {
    struct metric_label labels[METRIC_LABELS_MAX];
    size_t n_labels, n_cells, width;
    number *numbers; /* NULL: the family is collected */
};

struct metrics {
    const struct metric_family *families;
    size_t n_families;
    struct place *places;
    number *numbers; /* of all families */
};

/* ---- cells ---- */

static const struct metric_label *find_label(const struct metric_label *labels, size_t n,
                                             const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(labels[i].name, name) == 0)
            return &labels[i];
    return NULL;
}

static void lay_out(struct place *place, const struct metric_family *family,
                    const struct metric_label *labels, size_t n_labels) {
    if (family->collect)
        return;
    place->width = family->kind == METRIC_HISTOGRAM ? family->n_bounds + 2 : 1;
    place->n_cells = 1;
    for (size_t i = 0; i < METRIC_LABELS_MAX && family->labels[i]; i++) {
        const struct metric_label *label = find_label(labels, n_labels, family->labels[i]);
        assert(label);
        place->labels[place->n_labels++] = *label;
        place->n_cells *= label->n;
    }
}

struct metrics *metrics_create(const struct metric_family *families, size_t n_families,
                               const struct metric_label *labels, size_t n_labels) {
    struct metrics *metrics = calloc(1, sizeof *metrics);
    struct place *places = calloc(n_families, sizeof *places);
    size_t n = 0;
    for (size_t i = 0; places && i < n_families; i++) {
        lay_out(&places[i], &families[i], labels, n_labels);
        n += places[i].n_cells * places[i].width;
    }
    number *numbers = calloc(n ? n : 1, sizeof *numbers);
    if (!metrics || !places || !numbers) {
        free(metrics);
        free(places);
        free(numbers);
        return NULL;
    }
    *metrics = (struct metrics){families, n_families, places, numbers};
    for (size_t i = 0; i < n_families; i++) {
        places[i].numbers = places[i].n_cells ? numbers : NULL;
        numbers += places[i].n_cells * places[i].width;
    }
    return metrics;
}

void metrics_destroy(struct metrics *metrics) {
    if (!metrics)
        return;
    free(metrics->places);
    free(metrics->numbers);
    free(metrics);
}

size_t metrics_cell(const struct metrics *metrics, size_t family, const size_t *places) {
    const struct place *place = &metrics->places[family];
    size_t cell = 0;
    for (size_t i = 0; i < place->n_labels; i++) {
        assert(places[i] < place->labels[i].n);
        cell = cell * place->labels[i].n + places[i];
    }
    return cell;
}

static number *cell_at(const struct metrics *metrics, size_t family, size_t cell) {
    const struct place *place = &metrics->places[family];
    assert(family < metrics->n_families && cell < place->n_cells);
    return &place->numbers[cell * place->width];
}

static void add(number *to, int64_t n) {
    atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static int64_t get(const number *from) {
    return atomic_load_explicit(from, memory_order_relaxed);
}

void metrics_add(struct metrics *metrics, size_t family, size_t cell, int64_t n) {
    if (metrics)
        add(cell_at(metrics, family, cell), n);
}

void metrics_set(struct metrics *metrics, size_t family, size_t cell, int64_t value) {
    if (metrics)
        atomic_store_explicit(cell_at(metrics, family, cell), value, memory_order_relaxed);
}

void metrics_observe(struct metrics *metrics, size_t family, size_t cell, int64_t value) {
    if (!metrics)
        return;
    const struct metric_family *of = &metrics->families[family];
    number *numbers = cell_at(metrics, family, cell);
    size_t i = 0;
    if (value < 0)
        value = 0;
    while (i < of->n_bounds && value > of->bounds[i])
        i++;
    add(&numbers[i], 1);
    add(&numbers[of->n_bounds + 1], value);
}

static int64_t histogram_count(const struct metric_family *family, const number *numbers) {
    int64_t count = 0;
    for (size_t i = 0; i <= family->n_bounds; i++)
        count += get(&numbers[i]);
    return count;
}

int64_t metrics_value(const struct metrics *metrics, size_t family, size_t cell) {
    const number *numbers = cell_at(metrics, family, cell);
    const struct metric_family *of = &metrics->families[family];
    return of->kind == METRIC_HISTOGRAM ? histogram_count(of, numbers) : get(numbers);
}

/* ---- text ---- */

static const char *kind_name(enum metric_kind kind) {
    static const char *const names[] = {"counter", "gauge", "histogram"};
    return names[kind];
}

void metric_put_head(const struct metric_family *family, struct buf *to) {
    buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
               kind_name(family->kind));
}

/* A label's value with what ends it or its line escaped. */
static void put_value(const char *value, struct buf *to) {
    size_t plain = strcspn(value, "\n\"\\");
    buf_append(to, value, plain);
    for (value += plain; *value; value++) {
        if (*value == '\n') {
            buf_str(to, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\')
            buf_char(to, '\\');
        buf_char(to, *value);
    }
}

/* {a="x",b="y" without its end; false, and nothing, where the family has no labels. */
static bool put_label_list(const struct metric_family *family, const char *const *values,
                           struct buf *to) {
    size_t i = 0;
    for (; i < METRIC_LABELS_MAX && family->labels[i]; i++) {
        buf_char(to, i ? ',' : '{');
        buf_str(to, family->labels[i]);
        buf_str(to, "=\"");
        put_value(values[i], to);
        buf_char(to, '"');
    }
    return i > 0;
}

static void put_labels(const struct metric_family *family, const char *const *values,
                       struct buf *to) {
    if (put_label_list(family, values, to))
        buf_char(to, '}');
}

void metric_put(const struct metric_family *family, const char *const *values, double value,
                struct buf *to) {
    buf_str(to, family->name);
    put_labels(family, values, to);
    buf_printf(to, " %.15g\n", value);
}

/* Microseconds as seconds: 0.0005, 2.5, 86400. */
static void put_micros(int64_t micros, struct buf *to) {
    char digits[] = ".000000";
    int64_t rest = micros % 1000000;
    size_t len = 0;
    buf_int(to, micros / 1000000);
    for (size_t i = 6; i > 0; i--, rest /= 10) {
        digits[i] = (char)('0' + rest % 10);
        if (len == 0 && digits[i] != '0')
            len = i + 1;
    }
    buf_append(to, digits, len);
}

/* A number of a cell in the unit in which it is shown. */
static void put_number(const struct metric_family *family, int64_t value, struct buf *to) {
    if (family->micros)
        put_micros(value, to);
    else
        buf_int(to, value);
}

/* `bound` NULL: the bucket of all. */
static void put_bucket(const struct metric_family *family, const char *const *values,
                       const int64_t *bound, int64_t count, struct buf *to) {
    buf_str(to, family->name);
    buf_str(to, "_bucket");
    bool any = put_label_list(family, values, to);
    buf_str(to, any ? ",le=\"" : "{le=\"");
    if (bound)
        put_number(family, *bound, to);
    else
        buf_str(to, "+Inf");
    buf_str(to, "\"} ");
    buf_int(to, count);
    buf_char(to, '\n');
}

/* One of the samples of a cell that is no bucket. */
static void put_sample(const struct metric_family *family, const char *part,
                       const char *const *values, struct buf *to) {
    buf_str(to, family->name);
    buf_str(to, part);
    put_labels(family, values, to);
    buf_char(to, ' ');
}

/* The count is that of the buckets as they were read: so they agree while others count. */
static void put_histogram(const struct metric_family *family, const char *const *values,
                          const number *numbers, struct buf *to) {
    int64_t count = 0;
    for (size_t i = 0; i < family->n_bounds; i++) {
        count += get(&numbers[i]);
        put_bucket(family, values, &family->bounds[i], count, to);
    }
    count += get(&numbers[family->n_bounds]);
    put_bucket(family, values, NULL, count, to);
    put_sample(family, "_sum", values, to);
    put_number(family, get(&numbers[family->n_bounds + 1]), to);
    buf_char(to, '\n');
    put_sample(family, "_count", values, to);
    buf_int(to, count);
    buf_char(to, '\n');
}

static void put_cell(const struct metric_family *family, const struct place *place, size_t cell,
                     struct buf *to) {
    const char *values[METRIC_LABELS_MAX] = {NULL};
    size_t rest = cell;
    for (size_t i = place->n_labels; i-- > 0; rest /= place->labels[i].n)
        values[i] = place->labels[i].values[rest % place->labels[i].n];
    const number *numbers = &place->numbers[cell * place->width];
    if (family->kind == METRIC_HISTOGRAM) {
        if (!family->sparse || histogram_count(family, numbers) > 0)
            put_histogram(family, values, numbers, to);
    } else if (!family->sparse || get(numbers) != 0) {
        put_sample(family, "", values, to);
        put_number(family, get(numbers), to);
        buf_char(to, '\n');
    }
}

void metrics_write(const struct metrics *metrics, struct buf *to, void *arg) {
    for (size_t i = 0; i < metrics->n_families; i++) {
        const struct metric_family *family = &metrics->families[i];
        metric_put_head(family, to);
        if (family->collect)
            family->collect(family, to, arg);
        for (size_t cell = 0; cell < metrics->places[i].n_cells; cell++)
            put_cell(family, &metrics->places[i], cell, to);
    }
}
