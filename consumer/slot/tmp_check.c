/* tmp_check.c: a private /tmp on trial. */
#include "consumer/slot/tmp_check.h"

#include "base/mem.h"
#include "consumer/runner/held.h"
#include "consumer/runner/scratch.h"
#include "consumer/runner/tmp.h"
#include "consumer/slot/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the process found. */
struct found {
    int failed; /* an errno: it has no /tmp of its own */
    int hidden; /* the argument that is not there any more; -1: none */
};

/* Program and arguments as a run would have them; "" what is no file. Fails where a run would say
 * what is wrong. The program, which may have been found in PATH, stands in for its name. */
static enum rc name_files(const struct config *cfg, const struct config_service *service,
                          struct launch *launch, struct error *err) {
    const struct config_module *module = service->module;
    enum rc rc = launch_env(launch, module, &(struct assignment){0}, true, err);
    if (rc == RC_OK && module->object)
        rc = launch_helper(launch, "host", module->object, err);
    else if (rc == RC_OK)
        rc = launch_command(launch, cfg, module->command, err);
    if (rc != RC_OK)
        return rc;
    free(launch->args[0]);
    launch->args[0] = TAKE(launch->program);
    for (char **file = launch->args; *file; file++)
        if (**file != '/' || access(*file, F_OK) != 0)
            **file = '\0';
    return RC_OK;
}

/* In the new process: nothing allocates or locks. */
static struct found look(const struct tmp *tmp, char *const *files) {
    struct found found = {.hidden = -1};
    if (!tmp_enter(tmp))
        found.failed = errno;
    for (int i = 0; !found.failed && found.hidden < 0 && files[i]; i++)
        if (*files[i] && access(files[i], F_OK) != 0)
            found.hidden = i;
    return found;
}

static struct found try(const struct tmp *tmp, char *const *files) {
    struct found found = {.hidden = -1};
    int answer[2];
    if (pipe2(answer, O_CLOEXEC) != 0)
        return (struct found){.failed = errno, .hidden = -1};
    pid_t pid = fork();
    if (pid == 0) {
        found = look(tmp, files);
        _exit(write(answer[1], &found, sizeof found) == (ssize_t)sizeof found ? 0 : 1);
    }
    if (pid < 0)
        found.failed = errno;
    close(answer[1]);
    if (pid > 0 && read(answer[0], &found, sizeof found) != (ssize_t)sizeof found)
        found.failed = EIO;
    close(answer[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return found;
}

static struct found try_files(const struct config *cfg, char *const *files) {
    struct held scratch = {.lock = -1}, folder = {.lock = -1};
    struct tmp tmp;
    struct found found = {.hidden = -1};
    found.failed = held_make(launch_base(), &scratch);
    if (!found.failed)
        found.failed = held_make(launch_base(), &folder);
    if (!found.failed)
        found.failed = tmp_prepare(&tmp, folder.path, scratch.path, cfg->dir);
    if (!found.failed)
        found = try(&tmp, files);
    held_end(&folder, scratch_remove);
    held_end(&scratch, scratch_remove);
    return found;
}

static enum rc judge(const struct config *cfg, const struct config_service *service,
                     const struct found *found, char *const *files, struct error *err) {
    if (found->failed == EPERM)
        return error_set(err, RC_CONFIG,
                         "module.%s.private_tmp: needs a consumer that may make mounts: "
                         "CAP_SYS_ADMIN, which root has, and a system that lets it (%s)",
                         service->name, strerror(found->failed));
    if (found->failed)
        return error_set(err, RC_CONFIG, "module.%s.private_tmp: it cannot be made in %s: %s",
                         service->name, launch_base(), strerror(found->failed));
    if (found->hidden >= 0)
        return error_set(err, RC_CONFIG,
                         "module.%s.private_tmp: hides '%s': of the host's /tmp and /var/tmp the "
                         "module sees no more than the folders below them that hold the "
                         "configuration: %s",
                         service->name, files[found->hidden], cfg->dir);
    return RC_OK;
}

enum rc tmp_check(const struct config *cfg, const struct config_service *service,
                  struct error *err) {
    struct launch launch = {.task_fd = -1};
    char *none = NULL;
    struct error of_run;
    bool named = name_files(cfg, service, &launch, &of_run) == RC_OK;
    char *const *files = named ? launch.args : &none;
    struct found found = try_files(cfg, files);
    enum rc rc = judge(cfg, service, &found, files, err);
    launch_finish(&launch);
    return rc;
}
