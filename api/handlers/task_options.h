/* task_options.h: what a creator may ask for beside service and condition. */
#ifndef LH_API_HANDLERS_TASK_OPTIONS_H
#define LH_API_HANDLERS_TASK_OPTIONS_H

#include "api/call/params.h"
#include "config/config.h"
#include "task/lifecycle.h"

/* Reads start, priority, delay_s or run_at, timeout_s, expire_s, max_attempts, retry and tags of
 * the item into task and start; what it does not name is the module's (NULL: the project's)
 * default. start->now_ms is set before. */
enum rc task_options_read(const json_t *item, const struct config_module *module, struct task *task,
                          struct lifecycle_start *start, struct error *err) LH_MUST_USE;

/* Reads the idempotency key, from the item or the header's value (NULL: none), and the hash of the
 * item's data. */
enum rc task_options_key(const json_t *item, const char *header, struct task *task,
                         struct error *err) LH_MUST_USE;

/* Reads the item's traceparent and tracestate; without one of its own it belongs to the request's
 * trace: `parent`, "" for none, and `state`, NULL for none. */
enum rc task_options_trace(const json_t *item, const char *parent, const char *state,
                           struct task *task, struct error *err) LH_MUST_USE;

#endif
