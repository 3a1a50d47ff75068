/* polls.c: claim_task calls that wait. */
#include "api/polls.h"

#include "base/clock.h"
#include "base/mem.h"
#include "task/lifecycle.h"
#include "task/message.h"

#include <string.h>
#include <sys/queue.h>

enum { ASK_AGAIN_MS = 500 };

struct poll {
    TAILQ_ENTRY(poll) link;
    struct polls *polls;
    struct call *call;
    char **services;
    size_t n_services;
    size_t max;
    int64_t until_ms;     /* clock_mono_ms() */
    struct event *expire; /* NULL until it is parked for the first time */
};

TAILQ_HEAD(poll_list, poll);

struct polls {
    struct api *api;
    struct poll_list parked; /* longest waiting first */
    struct event *again;     /* NULL where only this process writes the store */
};

static void poll_destroy(struct poll *poll) {
    for (size_t i = 0; i < poll->n_services; i++)
        free(poll->services[i]);
    free(poll->services);
    if (poll->expire)
        event_free(poll->expire);
    free(poll);
}

static void put_taken(struct buf *buf, const struct task *task) {
    buf_str(buf, "{\"Task\":");
    message_put_task(task, buf);
    buf_str(buf, ",\"run_id\":");
    buf_json_str(buf, task->run_id);
    buf_printf(buf, ",\"attempt\":%lld,\"lease_until\":", (long long)task->attempt);
    call_put_time(buf, task->lease_until);
    buf_str(buf, ",\"deadline\":null}");
}

static void answer(struct poll *poll, const struct op *op) {
    struct buf buf;
    call_buf_init(&buf);
    size_t n = op ? op->n_tasks : 0;
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", n);
    for (size_t i = 0; i < n; i++) {
        buf_str(&buf, i ? "," : "");
        put_taken(&buf, &op->tasks[i]);
    }
    buf_str(&buf, "]}");
    call_reply(poll->call, &buf);
    poll_destroy(poll);
}

static void refuse(struct poll *poll, enum rc rc, const char *text) {
    call_reply_rc(poll->call, rc, text);
    poll_destroy(poll);
}

static void park(struct poll *poll);

static void on_taken(struct op *op, void *arg) {
    struct poll *poll = arg;
    if (op->rc != RC_OK)
        refuse(poll, op->rc, op->text);
    else if (op->n_tasks > 0 || poll->polls->api->draining || poll->until_ms <= clock_mono_ms())
        answer(poll, op);
    else
        park(poll);
}

static struct op *take_op(const struct poll *poll) {
    struct op *op = op_create(OP_TAKE);
    if (!op)
        return NULL;
    op->broker = api_has_broker(poll->polls->api);
    op->max = poll->max;
    op->lease_ms = poll->polls->api->cfg->lease_ms;
    op->services = calloc(poll->n_services, sizeof *op->services);
    for (size_t i = 0; op->services && i < poll->n_services; i++) {
        op->services[i] = strdup(poll->services[i]);
        if (!op->services[i])
            break;
        op->n_services++;
    }
    if (op->n_services == poll->n_services)
        return op;
    op_destroy(op);
    return NULL;
}

static void ask(struct poll *poll) {
    struct op *op = take_op(poll);
    enum rc rc = op ? executor_apply(poll->polls->api->executor, op, on_taken, poll) : RC_NO_MEMORY;
    if (rc != RC_OK)
        refuse(poll, rc, NULL);
}

static void unpark(struct poll *poll) {
    TAILQ_REMOVE(&poll->polls->parked, poll, link);
    event_del(poll->expire);
}

/* Asks the store for a parked poll, unless its client has gone: false, and the answer goes nowhere.
 */
static bool wake(struct poll *poll) {
    unpark(poll);
    if (http_req_client_gone(poll->call->req)) {
        answer(poll, NULL);
        return false;
    }
    ask(poll);
    return true;
}

static void on_expire(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct poll *poll = arg;
    unpark(poll);
    answer(poll, NULL);
}

static void park(struct poll *poll) {
    struct polls *polls = poll->polls;
    if (!poll->expire)
        poll->expire = event_new(polls->api->base, -1, 0, on_expire, poll);
    int64_t left = poll->until_ms - clock_mono_ms();
    left = left > 0 ? left : 0;
    struct timeval wait = {left / 1000, left % 1000 * 1000};
    if (!poll->expire || event_add(poll->expire, &wait) != 0) {
        refuse(poll, RC_NO_MEMORY, NULL);
        return;
    }
    TAILQ_INSERT_TAIL(&polls->parked, poll, link);
}

static bool wants(const struct poll *poll, const char *service) {
    for (size_t i = 0; i < poll->n_services; i++)
        if (strcmp(poll->services[i], service) == 0)
            return true;
    return false;
}

static struct poll *find_poll(struct polls *polls, const char *service) {
    struct poll *poll;
    TAILQ_FOREACH(poll, &polls->parked, link)
    if (wants(poll, service))
        return poll;
    return NULL;
}

/* The longest waiting poll whose client is still there. */
static void wake_one(struct polls *polls, const char *service) {
    struct poll *poll;
    do
        poll = find_poll(polls, service);
    while (poll && !wake(poll));
}

void polls_notice(struct polls *polls, const struct op *op) {
    static const bool may_queue[OP_KINDS] = {
        [OP_CREATE] = true, [OP_START] = true, [OP_HAND_BACK] = true, [OP_LAPSE] = true};
    if (op->rc != RC_OK || !may_queue[op->kind])
        return;
    for (size_t i = 0; i < op->n_tasks && !TAILQ_EMPTY(&polls->parked); i++)
        if ((!op->task_rc || op->task_rc[i] == RC_OK) && lifecycle_takeable(&op->tasks[i]))
            wake_one(polls, op->tasks[i].service);
}

static void wake_all(struct polls *polls) {
    struct poll_list parked = TAILQ_HEAD_INITIALIZER(parked);
    TAILQ_CONCAT(&parked, &polls->parked, link);
    struct poll *poll;
    while ((poll = TAILQ_FIRST(&parked))) {
        TAILQ_REMOVE(&parked, poll, link);
        TAILQ_INSERT_TAIL(&polls->parked, poll, link);
        (void)wake(poll);
    }
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    wake_all(arg);
}

void polls_take(struct polls *polls, struct call *call, char **services, size_t n_services,
                size_t max, int64_t wait_ms) {
    struct poll *poll = calloc(1, sizeof *poll);
    if (!poll) {
        for (size_t i = 0; i < n_services; i++)
            free(services[i]);
        free(services);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    poll->polls = polls;
    poll->call = call;
    poll->services = services;
    poll->n_services = n_services;
    poll->max = max;
    poll->until_ms = clock_mono_ms() + wait_ms;
    if (wait_ms > 0 && http_req_client_gone(call->req))
        answer(poll, NULL);
    else
        ask(poll);
}

void polls_release(struct polls *polls) {
    struct poll *poll;
    while ((poll = TAILQ_FIRST(&polls->parked))) {
        unpark(poll);
        answer(poll, NULL);
    }
}

enum rc polls_create(struct api *api, struct polls **ret, struct error *err) {
    struct polls *polls = calloc(1, sizeof *polls);
    if (!polls)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    polls->api = api;
    TAILQ_INIT(&polls->parked);
    if (api->cfg->store == STORE_MONGODB) {
        struct timeval every = {0, ASK_AGAIN_MS * 1000};
        polls->again = event_new(api->base, -1, EV_PERSIST, on_again, polls);
        if (!polls->again || event_add(polls->again, &every) != 0) {
            polls_destroy(polls);
            return error_set(err, RC_NO_MEMORY, "out of memory");
        }
    }
    *ret = polls;
    return RC_OK;
}

void polls_destroy(struct polls *polls) {
    if (!polls)
        return;
    if (polls->again)
        event_free(polls->again);
    free(polls);
}
