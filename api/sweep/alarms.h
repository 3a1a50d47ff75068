/* alarms.h: makes happen what happens to tasks by itself: a delay or backoff is over, a task
 * expires, one that has been queued for long is told again. Any number of API processes may do so:
 * each alarm is decided on the task as it stands. Loop thread only. */
#ifndef LH_API_ALARMS_H
#define LH_API_ALARMS_H

#include "api/api.h"

struct alarms;

/* Looks every sweep_s. */
enum rc alarms_create(struct api *api, struct alarms **ret, struct error *err) LH_MUST_USE;

/* NULL is fine. */
void alarms_destroy(struct alarms *alarms);

#endif
