/* launch.c: program, arguments and environment of a process. */
#include "consumer/slot/launch.h"

#include "base/mem.h"
#include "consumer/slot/helper.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char default_path[] = "/usr/local/bin:/usr/bin:/bin";

/* What a module gets of the consumer's own environment. */
static const char *const inherited[] = {"PATH", "HOME", "LANG", "TZ"};

enum { OWN_NAMES = 9 }; /* those of set_own() and set_run() */

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
    return env_set(env, "SERVICE", assignment->service) &&
           env_set(env, "SOURCE_NAME", assignment->source_name ? assignment->source_name : "") &&
           env_set(env, "LONGHAUL_REPORT_FD", "3");
}

/* What differs from run to run. */
static bool set_run(char **env, const struct assignment *assignment) {
    char attempt[24];
    snprintf(attempt, sizeof attempt, "%" PRId64, assignment->attempt);
    return env_set(env, "TASK_ID", assignment->task_id) &&
           env_set(env, "RUN_ID", assignment->run_id) && env_set(env, "ATTEMPT", attempt) &&
           (!*assignment->deadline || env_set(env, "DEADLINE", assignment->deadline)) &&
           (!*assignment->traceparent || env_set(env, "TRACEPARENT", assignment->traceparent)) &&
           (!assignment->tracestate || env_set(env, "TRACESTATE", assignment->tracestate));
}

const char *launch_base(void) {
    const char *base = getenv("TMPDIR");
    return base && *base == '/' ? base : "/tmp";
}

enum rc launch_env(struct launch *launch, const struct config_module *module,
                   const struct assignment *assignment, bool stays, struct error *err) {
    char **env = calloc(LH_COUNT(inherited) + module->n_env + OWN_NAMES + 1, sizeof *env);
    launch->env = env;
    if (env && set_inherited(env) && set_configured(env, module) && set_own(env, assignment) &&
        (stays || set_run(env, assignment)))
        return RC_OK;
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

enum rc launch_home(struct launch *launch, const struct config_module *module, const char *home,
                    struct error *err) {
    for (size_t i = 0; i < module->n_env; i++)
        if (strcmp(module->env[i].name, "HOME") == 0)
            return RC_OK;
    return env_set(launch->env, "HOME", home) ? RC_OK
                                              : error_set(err, RC_NO_MEMORY, "out of memory");
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

enum rc launch_command(struct launch *launch, const struct config *cfg, char *const *command,
                       struct error *err) {
    launch->args = make_args(cfg, command);
    return launch->args ? resolve(launch, err) : error_set(err, RC_NO_MEMORY, "out of memory");
}

enum rc launch_helper(struct launch *launch, const char *name, const char *arg, struct error *err) {
    char path[PATH_MAX];
    if (!helper_find(name, path))
        return error_set(err, RC_IO, "longhaul-%s is not installed", name);
    launch->program = strdup(path);
    launch->args = calloc(3, sizeof *launch->args);
    if (launch->args) {
        launch->args[0] = strdup(path);
        launch->args[1] = launch->args[0] ? strdup(arg) : NULL;
    }
    return launch->program && launch->args && launch->args[1]
               ? RC_OK
               : error_set(err, RC_NO_MEMORY, "out of memory");
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
