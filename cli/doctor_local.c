/* doctor_local.c: what this host has: folders, modules. */
#include "cli/doctor.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { ROOM_MIN_MB = 256 };

/* Cuts the last segment off. */
static bool parent_of(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return false;
    *slash = '\0';
    return true;
}

/* Whether the folder can be written, or made. *ret_at: the folder that decides. */
static bool is_writable(const char *folder, char ret_at[PATH_MAX]) {
    snprintf(ret_at, PATH_MAX, "%s", folder);
    while (access(ret_at, F_OK) != 0 && parent_of(ret_at))
        continue;
    struct stat about;
    return stat(ret_at, &about) == 0 && S_ISDIR(about.st_mode) && access(ret_at, W_OK | X_OK) == 0;
}

static void check_room(struct doctor *doctor, const char *check, const char *at) {
    struct statvfs about;
    if (statvfs(at, &about) != 0)
        return;
    uint64_t free_mb = (uint64_t)about.f_bavail * about.f_frsize >> 20;
    if (free_mb < ROOM_MIN_MB)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, check, "make room on this file system",
                   "%s has only %" PRIu64 " MiB left", at, free_mb);
}

static void check_folder(struct doctor *doctor, const char *check, const char *folder,
                         const char *advice) {
    char at[PATH_MAX];
    if (!is_writable(folder, at)) {
        doctor_say(doctor, FINDING_FAIL, RC_IO, check, advice,
                   "%s cannot be written by this user (%s)", folder, at);
        return;
    }
    doctor_say(doctor, FINDING_OK, RC_OK, check, NULL, "%s can be written", folder);
    check_room(doctor, check, at);
}

static void check_sqlite(struct doctor *doctor) {
    char folder[PATH_MAX];
    const char *path = doctor->cfg->sqlite_path;
    snprintf(folder, sizeof folder, "%s", path);
    (void)parent_of(folder);
    if (access(path, F_OK) == 0 && access(path, R_OK | W_OK) != 0)
        doctor_say(doctor, FINDING_FAIL, RC_IO, "store",
                   "let the API's user own it, or run doctor as that user", "%s: %s", path,
                   strerror(errno));
    else
        check_folder(doctor, "store", folder, "let the API's user own it, or change `store`");
}

/* A store that is a server is the API's to reach. */
void doctor_store(struct doctor *doctor) {
    if (!doctor->cfg)
        return;
    if (doctor->cfg->store == STORE_SQLITE)
        check_sqlite(doctor);
    else if (!doctor->reachable)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "store",
                   "let the API answer first: it looks whether it reaches MongoDB",
                   "MongoDB has not been looked at");
}

void doctor_folders(struct doctor *doctor) {
    const struct config *cfg = doctor->cfg;
    bool runs = false;
    for (size_t i = 0; cfg && i < cfg->n_services; i++)
        runs |= cfg->services[i].module != NULL;
    if (runs)
        check_folder(doctor, "spool", cfg->consumer_spool,
                     "let the consumer's user own it, or change `consumer_spool`");
}

/* -- modules -- */

static const char *path_of(const struct config_module *module) {
    for (size_t i = 0; i < module->n_env; i++)
        if (strcmp(module->env[i].name, "PATH") == 0)
            return module->env[i].value;
    const char *path = getenv("PATH");
    return path ? path : "/usr/local/bin:/usr/bin:/bin";
}

static bool is_program(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

/* As execvp finds it. */
static bool is_found(const struct config_module *module, const char *name) {
    char file[PATH_MAX];
    if (strchr(name, '/'))
        return is_program(name);
    const char *path = path_of(module);
    for (size_t len; *path; path += len + (path[len] == ':')) {
        len = strcspn(path, ":");
        int n = snprintf(file, sizeof file, "%.*s/%s", (int)len, path, name);
        if (n > 0 && (size_t)n < sizeof file && is_program(file))
            return true;
    }
    return false;
}

/* An argument that looks like a file of the configuration's folder and is none. */
static const char *missing_argument(const struct config_module *module) {
    for (char **arg = module->command + 1; *arg; arg++)
        if (strchr(*arg, '/') && **arg != '-' && !strstr(*arg, "://") && access(*arg, F_OK) != 0)
            return *arg;
    return NULL;
}

static void check_command(struct doctor *doctor, const struct config_service *service) {
    const struct config_module *module = service->module;
    const char *program = module->command[0], *missing = missing_argument(module);
    if (!is_found(module, program))
        doctor_say(doctor, FINDING_FAIL, RC_CONFIG, "modules",
                   "install it, make it executable, or correct module.SERVICE.command",
                   "%s: %s is no program that can be run", service->name, program);
    else if (missing)
        doctor_say(doctor, FINDING_FAIL, RC_CONFIG, "modules",
                   "relative paths count from the configuration's folder",
                   "%s: its argument %s does not exist", service->name, missing);
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "modules", NULL, "%s: %s is there", service->name,
                   program);
}

static void check_object(struct doctor *doctor, const struct config_service *service) {
    const char *object = service->module->object;
    if (access(object, R_OK) != 0)
        doctor_say(doctor, FINDING_FAIL, RC_CONFIG, "modules",
                   "build it, or correct module.SERVICE.object", "%s: %s: %s", service->name,
                   object, strerror(errno));
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "modules", NULL, "%s: %s is there", service->name,
                   object);
}

void doctor_modules(struct doctor *doctor) {
    const struct config *cfg = doctor->cfg;
    for (size_t i = 0; cfg && i < cfg->n_services; i++) {
        const struct config_service *service = &cfg->services[i];
        if (service->module && service->module->command)
            check_command(doctor, service);
        else if (service->module)
            check_object(doctor, service);
    }
}
