/* worker_task.c: POST /api/worker_task: the consumers that have been seen in the last minute. */
#include "api/handlers/handlers.h"

#include "base/clock.h"

enum { SEEN_MS = 60000 };

/* What the consumer said of itself, and when. */
static void put_worker(struct buf *buf, const struct store_worker *worker) {
    buf_append(buf, worker->value, worker->value_len - 1); /* without its closing brace */
    buf_str(buf, ",\"seen_time\":");
    call_put_time(buf, worker->seen_at);
    buf_char(buf, '}');
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", query->n_workers);
    for (size_t i = 0; i < query->n_workers; i++) {
        buf_str(&buf, i ? "," : "");
        put_worker(&buf, &query->workers[i]);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

void handle_worker_task(struct call *call) {
    struct query *query = query_create(QUERY_WORKERS);
    if (!query) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    query->seen_since_ms = clock_now_ms() - SEEN_MS;
    call_query(call, query, on_answer);
}
