/* service_names.c: asks service_task for the names that there are. */
#include "cli/service_names.h"

#include "base/mem.h"
#include "config/near.h"

#include <string.h>

enum { LIST_BYTES = 300 };

static enum rc ask(const struct cli *cli, struct answer *ret) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, 16);
    buf_str(&body, "{}");
    return client_ask(cli->client, "/api/service_task", &body, ret, NULL);
}

static void list(const json_t *names, struct buf *to) {
    size_t i;
    const json_t *name;
    json_array_foreach(names, i, name) {
        const char *text = json_string_value(name);
        if (to->len + strlen(text ? text : "") > LIST_BYTES) {
            buf_str(to, ", …");
            return;
        }
        buf_printf(to, "%s%s", i ? ", " : "", text ? text : "");
    }
}

static enum rc refuse(const json_t *names, const char *service, struct error *err) {
    char hint[NEAR_HINT_CAP];
    struct near near;
    size_t i;
    const json_t *name;
    near_init(&near, service);
    json_array_foreach(names, i, name)
        near_offer(&near, json_string_value(name), json_string_length(name));
    LH_CLEANUP_BUF struct buf known;
    buf_init(&known, LIST_BYTES + 8);
    list(names, &known);
    if (near.best[0] || buf_rc(&known) != RC_OK || !known.data)
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support: %.80s%s", service,
                         near_hint(&near, hint));
    return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support: %.80s; there are %s",
                     service, known.data);
}

enum rc service_names_hint(const struct cli *cli, const char *service, enum rc rc,
                           struct error *err) {
    LH_ANSWER answer = {0};
    if (rc != RC_SERVICE_NOT_SUPPORT || ask(cli, &answer) != RC_OK)
        return rc;
    return refuse(json_object_get(answer.root, "data"), service, err);
}

enum rc service_names_check(const struct cli *cli, const char *service, struct error *err) {
    LH_ANSWER answer = {0};
    if (ask(cli, &answer) != RC_OK)
        return RC_OK;
    size_t i;
    const json_t *name, *names = json_object_get(answer.root, "data");
    json_array_foreach(names, i,
                       name) if (strcmp(json_string_value(name), service) == 0) return RC_OK;
    return refuse(names, service, err);
}
