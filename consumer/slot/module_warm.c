/* module_warm.c: processes that stay and are given one task line after the other: a command, or our
 * host of a shared object. */
#include "consumer/slot/module.h"

enum rc module_warm_prepare(const struct config *cfg, const struct config_service *service,
                            const struct assignment *assignment, struct launch *ret,
                            struct error *err) {
    enum rc rc = launch_env(ret, service->module, assignment, true, err);
    return rc == RC_OK ? launch_command(ret, cfg, service->module->command, err) : rc;
}

enum rc module_object_prepare(const struct config *cfg, const struct config_service *service,
                              const struct assignment *assignment, struct launch *ret,
                              struct error *err) {
    (void)cfg;
    enum rc rc = launch_env(ret, service->module, assignment, true, err);
    return rc == RC_OK ? launch_helper(ret, "host", service->module->object, err) : rc;
}

void module_task_line(const struct assignment *assignment, struct buf *to) {
    buf_str(to, "{\"Task\":");
    module_put_task(assignment, to);
    buf_str(to, ",\"run_id\":");
    buf_json_str(to, assignment->run_id);
    buf_str(to, ",\"attempt\":");
    buf_int(to, assignment->attempt);
    buf_str(to, ",\"deadline\":");
    buf_json_str(to, *assignment->deadline ? assignment->deadline : NULL);
    if (*assignment->traceparent)
        buf_printf(to, ",\"traceparent\":\"%s\"", assignment->traceparent);
    if (assignment->tracestate) {
        buf_str(to, ",\"tracestate\":");
        buf_json_str(to, assignment->tracestate);
    }
    buf_str(to, "}\n");
}
