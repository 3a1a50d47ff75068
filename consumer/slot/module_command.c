/* module_command.c: the command of a service as a process of one run: stdin is the task. */
#include "consumer/slot/module.h"

#include "base/mem.h"
#include "base/write_all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The Task JSON in a file in memory, read-only for the module: unlike a pipe it never makes anybody
 * wait, and a module may leave it unread. */
static int task_file(const struct buf *text) {
    int fd = memfd_create("task", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    if (write_all(fd, text->data, text->len) && lseek(fd, 0, SEEK_SET) == 0 &&
        fcntl(fd, F_ADD_SEALS, seals) == 0)
        return fd;
    close(fd);
    return -1;
}

static enum rc write_task(const struct assignment *assignment, struct launch *launch,
                          struct error *err) {
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    buf_str(&text, "{\"Task\":");
    module_put_task(assignment, &text);
    buf_str(&text, "}\n");
    if (buf_rc(&text) != RC_OK)
        return error_set(err, buf_rc(&text), "out of memory");
    launch->task_fd = task_file(&text);
    return launch->task_fd >= 0
               ? RC_OK
               : error_set(err, RC_IO, "the task cannot be written: %s", strerror(errno));
}

enum rc module_command_prepare(const struct config *cfg, const struct config_service *service,
                               const struct assignment *assignment, struct launch *ret,
                               struct error *err) {
    enum rc rc = launch_env(ret, service->module, assignment, false, err);
    if (rc == RC_OK)
        rc = launch_command(ret, cfg, service->module->command, err);
    return rc == RC_OK ? write_task(assignment, ret, err) : rc;
}
