/* meter.h: what this process and its tasks do, counted as it happens. Loop thread only but
 * where another is named. */
#ifndef LH_API_METER_H
#define LH_API_METER_H

#include "api/api.h"
#include "api/meter/history.h"
#include "base/metrics.h"

struct meter;

enum rc meter_create(struct api *api, struct meter **ret, struct error *err) LH_MUST_USE;

/* Counts what the op, which has its outcome, did. */
void meter_notice(struct meter *meter, const struct op *op);

/* What has become of the services' tasks, up to now; borrowed. */
const struct history *meter_history(struct meter *meter);

/* All that is counted; borrowed. Counting is for any thread. */
struct metrics *meter_metrics(const struct meter *meter);

/* Counts answers; the arg is the struct api. */
http_observer meter_http;

/* Counts what became of messages. Any thread. */
void meter_deliveries(struct meter *meter, const struct delivery *deliveries, size_t n);

/* After executor_destroy(). NULL is fine. */
void meter_destroy(struct meter *meter);

#endif
