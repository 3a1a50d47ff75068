/* meter.h: what this process and its tasks do, counted as it happens. Loop thread only. */
#ifndef LH_API_METER_H
#define LH_API_METER_H

#include "api/api.h"
#include "api/history.h"

struct meter;

enum rc meter_create(struct api *api, struct meter **ret, struct error *err) LH_MUST_USE;

/* Counts what the op, which has its outcome, did. */
void meter_notice(struct meter *meter, const struct op *op);

/* What has become of the services' tasks, up to now; borrowed. */
const struct history *meter_history(struct meter *meter);

/* After executor_destroy(). NULL is fine. */
void meter_destroy(struct meter *meter);

#endif
