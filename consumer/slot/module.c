/* module.c: the table of module kinds. */
#include "consumer/slot/module.h"

#include "base/mem.h"
#include "task/message.h"

#include <assert.h>

static const struct module modules[] = {
    [MODULE_COMMAND] = {"command", false, module_command_prepare},
    [MODULE_WARM] = {"warm", true, module_warm_prepare},
    [MODULE_SHARED_OBJECT] = {"shared_object", true, module_object_prepare},
};

static const struct module *module_of(const struct config_service *service) {
    assert(service->module && service->module->kind < LH_COUNT(modules));
    return &modules[service->module->kind];
}

enum rc module_prepare(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret, struct error *err) {
    *ret = (struct launch){.task_fd = -1};
    return module_of(service)->prepare(cfg, service, assignment, ret, err);
}

bool module_stays(const struct config_service *service) {
    return module_of(service)->stays;
}

void module_put_task(const struct assignment *assignment, struct buf *to) {
    struct task task = {.source_name = assignment->source_name,
                        .condition = assignment->condition,
                        .condition_len = assignment->condition_len};
    mem_copy_str(task.task_id, sizeof task.task_id, assignment->task_id);
    mem_copy_str(task.service, sizeof task.service, assignment->service);
    message_put_task(&task, to);
}
