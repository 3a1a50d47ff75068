/* module.h: the kinds of modules, one table: how their processes are started, and whether one stays
 * for many runs.
 *
 * What the process then says and how it ends is judged alike for all (outcome.h).
 */
#ifndef LH_CONSUMER_MODULE_H
#define LH_CONSUMER_MODULE_H

#include "consumer/slot/launch.h"

struct module {
    const char *name;
    bool stays;
    enum rc (*prepare)(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret, struct error *err);
};

/* Prepares the process that runs `assignment`, as the service's module wants it; where processes
 * stay only the service and source_name of it are used. The caller owns *ret, also what a failure
 * left in it. Failure: RC_IO or RC_NO_MEMORY with a text for the task's error. */
enum rc module_prepare(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret,
                       struct error *err) LH_MUST_USE;

/* Whether its processes stay and are given one task line after the other. */
bool module_stays(const struct config_service *service);

/* Appends what such a process is given: {"Task":{…},"run_id","attempt","deadline"}, of a task
 * that belongs to a trace also "traceparent" and "tracestate", and a newline. */
void module_task_line(const struct assignment *assignment, struct buf *to);

/* Appends the task itself: {"task_id","service","source_name","condition"}. */
void module_put_task(const struct assignment *assignment, struct buf *to);

/* Kind `command`: one process per task, the Task JSON and a newline on stdin. */
enum rc module_command_prepare(const struct config *cfg, const struct config_service *service,
                               const struct assignment *assignment, struct launch *ret,
                               struct error *err) LH_MUST_USE;

/* Kind `warm`: the command as a process that stays. */
enum rc module_warm_prepare(const struct config *cfg, const struct config_service *service,
                            const struct assignment *assignment, struct launch *ret,
                            struct error *err) LH_MUST_USE;

/* Kind `shared_object`: longhaul-host with the object. */
enum rc module_object_prepare(const struct config *cfg, const struct config_service *service,
                              const struct assignment *assignment, struct launch *ret,
                              struct error *err) LH_MUST_USE;

#endif
