/* task.h: the line that brings a task, as a struct longhaul_task. */
#ifndef LH_HOST_TASK_H
#define LH_HOST_TASK_H

#include "base/json.h"
#include "consumer/host/longhaul.h"

/* A task and the memory that its texts stand in. */
struct host_task {
    struct longhaul_task task;
    json_t *root;
    char *condition;
};

/* Reads {"Task":{"task_id","service","source_name","condition"},"run_id","attempt","deadline",
 * "traceparent","tracestate"}, of which the last three may be missing or null.
 * RC_INVALID_PARAMETER with what is wrong; *ret is untouched then. The caller owns *ret
 * (host_task_finish). */
enum rc host_task_read(struct json_span line, struct host_task *ret, struct error *err) LH_MUST_USE;

void host_task_finish(struct host_task *task);

#endif
