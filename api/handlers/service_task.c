/* service_task.c: POST /api/service_task: the names of the configured services, in their order. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "base/mem.h"

static const char *const later[] = {"detail"};

void handle_service_task(struct call *call) {
    struct error err = {.text = ""};
    enum rc rc = call_refuse_later(call, later, LH_COUNT(later), &err);
    if (rc != RC_OK) {
        call_reply_rc(call, rc, err.text);
        return;
    }
    const struct config *cfg = call->api->cfg;
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", cfg->n_services);
    for (size_t i = 0; i < cfg->n_services; i++) {
        buf_str(&buf, i ? "," : "");
        buf_json_str(&buf, cfg->services[i].name);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}
