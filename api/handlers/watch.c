/* watch.c: GET and POST /api/watch: what happens to tasks while it happens, as Server-Sent Events.
 */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/watch/watches.h"

enum { ID_MAX_BYTES = 2048 };

/* The header, which browsers send by themselves, wins. */
static enum rc read_last_id(const struct call *call, const char **ret, struct error *err) {
    *ret = http_req_header(call->req, "Last-Event-ID");
    if (*ret)
        return RC_OK;
    return param_string(call->data, "last_event_id", PARAM_OPTIONAL, ID_MAX_BYTES, ret, err);
}

void handle_watch(struct call *call) {
    struct watch_select select = {0};
    struct error err = {.text = ""};
    const char *last_id = NULL;
    enum rc rc = read_last_id(call, &last_id, &err);
    if (rc == RC_OK)
        rc = watch_select_read(call->data, &select, &err);
    for (size_t i = 0; rc == RC_OK && i < select.n_services; i++)
        rc = call_check_service(call, select.services[i], &err);
    if (rc == RC_OK) {
        watches_begin(call->api->watches, call, &select, last_id);
        return;
    }
    watch_select_finish(&select);
    call_reply_rc(call, rc, err.text);
}
