/* The registry: cells by label, histograms, what is shown, escapes, and counting on many threads.
 */
#include "base/metrics.h"

#include "base/mem.h"
#include "base/metrics_process.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MADE, FAILED, OPEN, TOOK, SIZES, RARE, ASKED, FAMILIES };

static metric_collect collect_asked;

static const int64_t micros[] = {500, 1000, 2500000}, sizes[] = {1, 10};

static const struct metric_family families[FAMILIES] = {
    [MADE] = {"t_made_total", METRIC_COUNTER, "Things made.", {"service"}},
    [FAILED] = {"t_failed_total", METRIC_COUNTER, "Things failed.", {"service", "cause"}},
    [OPEN] = {"t_open", METRIC_GAUGE, "Things open."},
    [TOOK] = {"t_took_seconds",
              METRIC_HISTOGRAM,
              "Time.",
              {"service"},
              .micros = true,
              .bounds = micros,
              .n_bounds = LH_COUNT(micros)},
    [SIZES] = {"t_size", METRIC_HISTOGRAM, "Sizes.", .bounds = sizes, .n_bounds = LH_COUNT(sizes)},
    [RARE] = {"t_rare_total", METRIC_COUNTER, "Rare things.", {"cause"}, .sparse = true},
    [ASKED] = {"t_asked", METRIC_GAUGE, "Known when asked.", {"free"}, .collect = collect_asked},
};

static const char *const services[] = {"a", "odd\"\\\nname"}, *const causes[] = {"x", "y", "z"};

static const struct metric_label labels[] = {{"service", services, LH_COUNT(services)},
                                             {"cause", causes, LH_COUNT(causes)}};

static void collect_asked(const struct metric_family *family, struct buf *to, void *arg) {
    const char *value = arg;
    metric_put(family, &value, 1.5, to);
}

static struct metrics *make(void) {
    struct metrics *metrics = metrics_create(families, FAMILIES, labels, LH_COUNT(labels));
    assert_non_null(metrics);
    return metrics;
}

/* Asks for the text and looks for these lines in it. */
static void shows(const struct metrics *metrics, const char *lines) {
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, 1 << 20);
    metrics_write(metrics, &text, "v");
    assert_int_equal(buf_rc(&text), RC_OK);
    if (!strstr(text.data, lines))
        fail_msg("not shown:\n%s\nin:\n%s", lines, text.data);
}

static void counters_have_a_cell_for_each_label_value(void **state) {
    (void)state;
    struct metrics *metrics = make();
    metrics_add(metrics, MADE, 1, 3);
    size_t last = metrics_cell(metrics, FAILED, (size_t[]){1, 2});
    assert_int_equal(last, 5);
    metrics_add(metrics, FAILED, last, 1);
    metrics_add(metrics, FAILED, last, 1);
    metrics_set(metrics, OPEN, 0, 7);
    metrics_add(metrics, OPEN, 0, -2);
    assert_int_equal(metrics_value(metrics, OPEN, 0), 5);
    shows(metrics,
          "# HELP t_made_total Things made.\n# TYPE t_made_total counter\n"
          "t_made_total{service=\"a\"} 0\nt_made_total{service=\"odd\\\"\\\\\\nname\"} 3\n");
    shows(metrics, "t_failed_total{service=\"a\",cause=\"x\"} 0\n");
    shows(metrics, "t_failed_total{service=\"odd\\\"\\\\\\nname\",cause=\"z\"} 2\n");
    shows(metrics, "# TYPE t_open gauge\nt_open 5\n");
    shows(metrics, "t_asked{free=\"v\"} 1.5\n");
    metrics_destroy(metrics);
}

static void histograms_add_up(void **state) {
    (void)state;
    struct metrics *metrics = make();
    static const int64_t took[] = {-4, 0, 500, 501, 1000, 2500000, 86400000001};
    for (size_t i = 0; i < LH_COUNT(took); i++)
        metrics_observe(metrics, TOOK, 0, took[i]);
    shows(metrics, "# TYPE t_took_seconds histogram\n"
                   "t_took_seconds_bucket{service=\"a\",le=\"0.0005\"} 3\n"
                   "t_took_seconds_bucket{service=\"a\",le=\"0.001\"} 5\n"
                   "t_took_seconds_bucket{service=\"a\",le=\"2.5\"} 6\n"
                   "t_took_seconds_bucket{service=\"a\",le=\"+Inf\"} 7\n"
                   "t_took_seconds_sum{service=\"a\"} 86402.502002\n"
                   "t_took_seconds_count{service=\"a\"} 7\n");
    assert_int_equal(metrics_value(metrics, TOOK, 0), 7);
    assert_int_equal(metrics_value(metrics, TOOK, 1), 0);
    metrics_observe(metrics, SIZES, 0, 11);
    shows(metrics, "t_size_bucket{le=\"1\"} 0\nt_size_bucket{le=\"10\"} 0\n"
                   "t_size_bucket{le=\"+Inf\"} 1\nt_size_sum 11\nt_size_count 1\n");
    metrics_destroy(metrics);
}

static void sparse_families_show_what_has_happened(void **state) {
    (void)state;
    struct metrics *metrics = make();
    shows(metrics, "# TYPE t_rare_total counter\n# HELP t_asked");
    metrics_add(metrics, RARE, 1, 1);
    shows(metrics, "# TYPE t_rare_total counter\nt_rare_total{cause=\"y\"} 1\n# HELP t_asked");
    metrics_destroy(metrics);
}

static void nobody_need_count(void **state) {
    (void)state;
    metrics_add(NULL, MADE, 0, 1);
    metrics_set(NULL, OPEN, 0, 1);
    metrics_observe(NULL, TOOK, 0, 1);
    metrics_destroy(NULL);
}

enum { THREADS = 4, TIMES = 20000 };

static void *count_much(void *arg) {
    for (int i = 0; i < TIMES; i++) {
        metrics_add(arg, MADE, 0, 1);
        metrics_observe(arg, TOOK, 1, i % 3);
    }
    return NULL;
}

static void threads_lose_nothing(void **state) {
    (void)state;
    struct metrics *metrics = make();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, metrics), 0);
    shows(metrics, "# TYPE t_made_total counter\n"); /* read meanwhile */
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_value(metrics, MADE, 0), THREADS * TIMES);
    assert_int_equal(metrics_value(metrics, TOOK, 1), THREADS * TIMES);
    metrics_destroy(metrics);
}

static void a_full_buffer_is_told(void **state) {
    (void)state;
    struct metrics *metrics = make();
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, 100);
    metrics_write(metrics, &text, "v");
    assert_int_equal(buf_rc(&text), RC_TOO_LARGE);
    metrics_destroy(metrics);
}

/* The value of a family without labels. */
static double figure(const char *text, const char *name) {
    char line[80];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    if (!at)
        fail_msg("%s is missing in:\n%s", name, text);
    return strtod(at + strlen(line), NULL);
}

static void the_process_tells_of_itself(void **state) {
    (void)state;
    LH_CLEANUP_BUF struct buf text, again;
    buf_init(&text, 1 << 16);
    buf_init(&again, 1 << 16);
    metrics_process_write(&text);
    metrics_process_write(&again);
    assert_true(figure(text.data, "process_resident_memory_bytes") > 100000);
    assert_true(figure(text.data, "process_virtual_memory_bytes") >
                figure(text.data, "process_resident_memory_bytes"));
    assert_true(figure(text.data, "process_cpu_seconds_total") >= 0);
    assert_true(figure(text.data, "process_open_fds") >= 1);
    assert_true(figure(text.data, "process_max_fds") >= figure(text.data, "process_open_fds"));
    assert_true(figure(text.data, "process_start_time_seconds") > 1.7e9);
    assert_true(figure(text.data, "process_start_time_seconds") ==
                figure(again.data, "process_start_time_seconds"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_have_a_cell_for_each_label_value),
        cmocka_unit_test(histograms_add_up),
        cmocka_unit_test(sparse_families_show_what_has_happened),
        cmocka_unit_test(nobody_need_count),
        cmocka_unit_test(threads_lose_nothing),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(the_process_tells_of_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
