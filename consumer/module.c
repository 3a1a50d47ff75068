/* module.c: the table of module kinds. */
#include "consumer/module.h"

#include "base/mem.h"

#include <assert.h>
#include <unistd.h>

static const struct module modules[] = {
    [MODULE_COMMAND] = {"command", module_command_prepare},
};

enum rc module_prepare(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret, struct error *err) {
    assert(service->module && service->module->kind < LH_COUNT(modules));
    return modules[service->module->kind].prepare(cfg, service, assignment, ret, err);
}

static void free_texts(char **texts) {
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

void launch_finish(struct launch *launch) {
    free(launch->program);
    free_texts(launch->args);
    free_texts(launch->env);
    if (launch->task_fd >= 0)
        close(launch->task_fd);
    *launch = (struct launch){.task_fd = -1};
}
