/* claim_task.c: POST /api/claim_task: a consumer takes due tasks, waiting for the first if asked
 * to. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "api/polls.h"
#include "base/mem.h"

#include <string.h>

enum { CLAIM_MAX_TASKS = 1000, CLAIM_MAX_BYTES = 64 << 20, CLAIM_MAX_WAIT_S = 60 };

static const char *const later[] = {"claim_id", "worker", "lease_s"};

struct names {
    char **names;
    size_t n;
};

static void names_free(struct names *names) {
    for (size_t i = 0; i < names->n; i++)
        free(names->names[i]);
    free(names->names);
}

static enum rc read_service(const struct api *api, const json_t *value, struct names *names,
                            struct error *err) {
    const char *name = json_string_value(value);
    if (!name || strlen(name) != json_string_length(value))
        return error_set(err, RC_INVALID_PARAMETER, "services must be an array of names");
    if (!config_service(api->cfg, name))
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support");
    if (!(names->names[names->n] = strdup(name)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    names->n++;
    return RC_OK;
}

static enum rc read_services(const struct call *call, struct names *names, struct error *err) {
    const json_t *services = json_object_get(call->data, "services");
    size_t n = json_array_size(services);
    if (n == 0 || n > call->api->cfg->n_services)
        return error_set(err, RC_INVALID_PARAMETER,
                         "services must be an array of 1 to %zu names of services",
                         call->api->cfg->n_services);
    names->names = calloc(n, sizeof *names->names);
    if (!names->names)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = read_service(call->api, json_array_get(services, i), names, err);
    return rc;
}

/* "Up to max": no more than fit in an answer of a bounded size. */
static size_t most_tasks(const struct config *cfg, int64_t max) {
    int64_t fit = CLAIM_MAX_BYTES / cfg->limits.body_bytes;
    fit = fit > 1 ? fit : 1;
    return (size_t)(max < fit ? max : fit);
}

void handle_claim_task(struct call *call) {
    struct names names = {0};
    struct error err = {.text = ""};
    int64_t max = 1, wait_ms = 0;
    enum rc rc = param_int(call->data, "max", 1, CLAIM_MAX_TASKS, &max, &err);
    if (rc == RC_OK)
        rc = param_seconds(call->data, "wait_s", CLAIM_MAX_WAIT_S, &wait_ms, &err);
    if (rc == RC_OK)
        rc = call_refuse_later(call, later, LH_COUNT(later), &err);
    if (rc == RC_OK)
        rc = read_services(call, &names, &err);
    if (rc == RC_OK) {
        polls_take(call->api->polls, call, names.names, names.n, most_tasks(call->api->cfg, max),
                   wait_ms);
        return;
    }
    names_free(&names);
    call_reply_rc(call, rc, err.text);
}
