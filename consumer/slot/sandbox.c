/* sandbox.c: as whom a module runs, and with which rights. */
#include "consumer/slot/sandbox.h"

#include "base/mem.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_MAX_BYTES = 65536 };

static enum rc fail(struct error *err, const struct config_service *service, const char *key,
                    const char *name, int failed) {
    return error_set(err, RC_CONFIG, "module.%s.%s: '%.64s': %s", service->name, key, name,
                     failed ? strerror(failed) : "there is none of that name on this machine");
}

static enum rc find_user(const struct config_service *service, struct sandbox *to,
                         struct error *err) {
    const char *name = service->module->user;
    struct passwd record, *found = NULL;
    LH_FREE char *room = malloc(RECORD_MAX_BYTES);
    if (!room)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    int failed = getpwnam_r(name, &record, room, RECORD_MAX_BYTES, &found);
    if (!found)
        return fail(err, service, "user", name, failed);
    to->identity.uid = record.pw_uid;
    to->identity.gid = record.pw_gid;
    if (!mem_copy_str(to->home, sizeof to->home, record.pw_dir))
        mem_copy_str(to->home, sizeof to->home, "/");
    return RC_OK;
}

static enum rc find_group(const struct config_service *service, struct sandbox *to,
                          struct error *err) {
    const char *name = service->module->group;
    struct group record, *found = NULL;
    LH_FREE char *room = malloc(RECORD_MAX_BYTES);
    if (!room)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    int failed = getgrnam_r(name, &record, room, RECORD_MAX_BYTES, &found);
    if (!found)
        return fail(err, service, "group", name, failed);
    to->identity.gid = record.gr_gid;
    return RC_OK;
}

enum rc sandbox_find(const struct config_service *service, struct sandbox *ret, struct error *err) {
    const struct config_module *module = service->module;
    struct sandbox sandbox = {.identity = {
                                  .changes = module->user || module->group,
                                  .no_new_privileges = module->no_new_privileges,
                                  .private_tmp = module->private_tmp,
                                  .uid = geteuid(),
                                  .gid = getegid(),
                              }};
    if (sandbox.identity.changes && geteuid() != 0)
        return error_set(err, RC_CONFIG,
                         "module.%s.%s: needs a consumer that runs as root; this one has the user "
                         "id %u",
                         service->name, module->user ? "user" : "group", geteuid());
    enum rc rc = module->user ? find_user(service, &sandbox, err) : RC_OK;
    if (rc == RC_OK && module->group)
        rc = find_group(service, &sandbox, err);
    if (rc == RC_OK)
        *ret = sandbox;
    return rc;
}
