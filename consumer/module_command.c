/* module_command.c: the command of a service as a process: its arguments, environment and stdin. */
#include "consumer/module.h"

#include "base/mem.h"
#include "task/message.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char default_path[] = "/usr/local/bin:/usr/bin:/bin";

/* What a module gets of the consumer's own environment. */
static const char *const inherited[] = {"PATH", "HOME", "LANG", "TZ"};

enum { OWN_NAMES = 6 }; /* those of set_own() */

/* Where the entry `name` stands, or the end of the list. */
static size_t env_find(char *const *env, const char *name) {
    size_t len = strlen(name), i = 0;
    while (env[i] && !(strncmp(env[i], name, len) == 0 && env[i][len] == '='))
        i++;
    return i;
}

/* Sets or replaces an entry; the list has room. */
static bool env_set(char **env, const char *name, const char *value) {
    char *entry;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return false;
    size_t at = env_find(env, name);
    free(env[at]);
    env[at] = entry;
    return true;
}

static bool set_inherited(char **env) {
    for (size_t i = 0; i < LH_COUNT(inherited); i++) {
        const char *value = getenv(inherited[i]);
        if (value && !env_set(env, inherited[i], value))
            return false;
    }
    return getenv("PATH") || env_set(env, "PATH", default_path);
}

static bool set_configured(char **env, const struct config_module *module) {
    for (size_t i = 0; i < module->n_env; i++)
        if (!env_set(env, module->env[i].name, module->env[i].value))
            return false;
    return true;
}

static bool set_own(char **env, const struct assignment *assignment) {
    char attempt[24];
    snprintf(attempt, sizeof attempt, "%" PRId64, assignment->attempt);
    return env_set(env, "TASK_ID", assignment->task_id) &&
           env_set(env, "RUN_ID", assignment->run_id) && env_set(env, "ATTEMPT", attempt) &&
           env_set(env, "SERVICE", assignment->service) &&
           env_set(env, "SOURCE_NAME", assignment->source_name ? assignment->source_name : "") &&
           env_set(env, "LONGHAUL_REPORT_FD", "3");
}

static char **make_env(const struct config_module *module, const struct assignment *assignment) {
    char **env = calloc(LH_COUNT(inherited) + module->n_env + OWN_NAMES + 1, sizeof *env);
    if (env && set_inherited(env) && set_configured(env, module) && set_own(env, assignment))
        return env;
    for (size_t i = 0; env && env[i]; i++)
        free(env[i]);
    free(env);
    return NULL;
}

/* An argument as the module gets it: one that holds a slash and names a file relative to the
 * configuration's folder becomes that file's absolute path, since the module runs in a folder of
 * its own. */
static char *make_arg(const struct config *cfg, const char *arg) {
    char *path;
    if (*arg == '/' || *arg == '-' || !strchr(arg, '/'))
        return strdup(arg);
    if (asprintf(&path, "%s/%s", cfg->dir, arg) < 0)
        return NULL;
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return strdup(arg);
}

static char **make_args(const struct config *cfg, char *const *command) {
    size_t n = 0;
    while (command[n])
        n++;
    char **args = calloc(n + 1, sizeof *args);
    for (size_t i = 0; args && i < n; i++)
        if (!(args[i] = make_arg(cfg, command[i]))) {
            while (i-- > 0)
                free(args[i]);
            free(args);
            return NULL;
        }
    return args;
}

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Looks `name` up in the folders of `path`; NULL where it is in none. Relative folders are passed
 * over. */
static char *find_program(const char *name, const char *path) {
    for (const char *at = path; *at;) {
        size_t len = strcspn(at, ":");
        char *found;
        if (*at == '/') {
            if (asprintf(&found, "%.*s/%s", (int)len, at, name) < 0)
                return NULL;
            if (is_program(found))
                return found;
            free(found);
        }
        at += len + (at[len] == ':');
    }
    return NULL;
}

static enum rc resolve(struct launch *launch, struct error *err) {
    const char *name = launch->args[0];
    if (strchr(name, '/')) {
        launch->program = strdup(name);
        return launch->program ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    }
    const char *path = launch->env[env_find(launch->env, "PATH")] + strlen("PATH=");
    launch->program = find_program(name, path);
    return launch->program ? RC_OK : error_set(err, RC_IO, "command not found: %s", name);
}

static bool write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

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
    struct task task = {.source_name = assignment->source_name,
                        .condition = assignment->condition,
                        .condition_len = assignment->condition_len};
    mem_copy_str(task.task_id, sizeof task.task_id, assignment->task_id);
    mem_copy_str(task.service, sizeof task.service, assignment->service);
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    message_encode(&task, &text);
    buf_char(&text, '\n');
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
    *ret = (struct launch){.task_fd = -1};
    ret->env = make_env(service->module, assignment);
    ret->args = make_args(cfg, service->module->command);
    if (!ret->env || !ret->args)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = resolve(ret, err);
    return rc == RC_OK ? write_task(assignment, ret, err) : rc;
}
