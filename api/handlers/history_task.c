/* history_task.c: POST /api/history_task: what became of the services' tasks over time. */
#include "api/call/params.h"
#include "api/handlers/handlers.h"
#include "api/meter/meter.h"
#include "base/mem.h"

#include <inttypes.h>

enum { SPAN_MIN_S = 10, SPAN_DEFAULT_S = 3600 };

struct asked {
    const struct config_service *service; /* NULL: all */
    int64_t span_s;
};

static enum rc read_asked(const struct call *call, struct asked *ret, struct error *err) {
    static const char *const names[] = {"service", "span_s"};
    const char *name = NULL;
    *ret = (struct asked){.span_s = SPAN_DEFAULT_S};
    enum rc rc = call_refuse_outside(call, names, LH_COUNT(names), err);
    if (rc == RC_OK)
        rc = param_string(call->data, "service", PARAM_OPTIONAL, SERVICE_CAP - 1, &name, err);
    if (rc == RC_OK)
        rc = param_int(call->data, "span_s", SPAN_MIN_S, HISTORY_SPAN_MAX_S, &ret->span_s, err);
    if (rc != RC_OK || !name)
        return rc;
    ret->service = config_service(call->api->cfg, name);
    if (!ret->service)
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support");
    return call_check_service(call, name, err);
}

static void put_value(struct buf *buf, int64_t value, bool is_ms) {
    if (value < 0)
        buf_str(buf, "null");
    else if (is_ms)
        buf_printf(buf, "%" PRId64 ".%03" PRId64, value / 1000, value % 1000);
    else
        buf_int(buf, value);
}

static void put_series(struct buf *buf, const struct history *history,
                       const struct history_view *view, size_t service,
                       enum history_series series) {
    bool is_ms;
    buf_printf(buf, "\"%s\":[", history_series_name(series, &is_ms));
    for (size_t i = 0; i < view->n; i++) {
        if (i)
            buf_char(buf, ',');
        put_value(buf, history_value(history, view, service, series, i), is_ms);
    }
    buf_char(buf, ']');
}

static void put_service(struct buf *buf, const struct history *history,
                        const struct history_view *view, size_t service) {
    buf_char(buf, '{');
    for (int series = 0; series < HISTORY_SERIES; series++) {
        buf_str(buf, series ? "," : "");
        put_series(buf, history, view, service, (enum history_series)series);
    }
    buf_char(buf, '}');
}

void handle_history_task(struct call *call) {
    struct asked asked;
    struct error err = {.text = ""};
    enum rc rc = read_asked(call, &asked, &err);
    if (rc != RC_OK) {
        call_reply_rc(call, rc, err.text);
        return;
    }
    const struct config *cfg = call->api->cfg;
    const struct history *history = meter_history(call->api->meter);
    const struct history_view view = history_view(history, asked.span_s);
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"step_s\":%" PRId64 ",\"from\":", view.step_ms / 1000);
    call_put_time(&buf, view.from_ms);
    buf_str(&buf, ",\"services\":{");
    size_t i = asked.service ? (size_t)(asked.service - cfg->services) : 0;
    size_t end = asked.service ? i + 1 : cfg->n_services;
    const char *comma = "";
    for (size_t at = i; at < end; at++) {
        if (!call_allows(call, cfg->services[at].name))
            continue;
        buf_str(&buf, comma);
        comma = ",";
        buf_json_str(&buf, cfg->services[at].name);
        buf_char(&buf, ':');
        put_service(&buf, history, &view, at);
    }
    buf_str(&buf, "}}");
    call_reply(call, &buf);
}
