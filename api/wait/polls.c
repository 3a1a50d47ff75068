/* polls.c: claim_task calls that wait. */
#include "api/wait/polls.h"

#include "api/sweep/services.h"
#include "base/clock.h"
#include "base/mem.h"
#include "task/lifecycle.h"
#include "task/message.h"

#include <string.h>
#include <sys/queue.h>

enum { ASK_AGAIN_MS = 500 };

struct poll {
    TAILQ_ENTRY(poll) link; /* of those that are parked */
    TAILQ_ENTRY(poll) in_all;
    struct polls *polls;
    struct call *call;
    struct poll_want want;
    bool parked;
    bool ended;           /* a newer poll of its worker has come: it waits no longer */
    int64_t until_ms;     /* clock_mono_ms() */
    unsigned asked_at;    /* polls->wakes when it last asked the store */
    const char *sent_for; /* of want.services: that it asks for a task of; NULL: of any */
    struct event *expire; /* NULL until it is parked for the first time */
};

TAILQ_HEAD(poll_list, poll);

struct polls {
    struct api *api;
    struct poll_list parked; /* longest waiting first */
    struct poll_list all;    /* and those whose question is with the store */
    unsigned wakes;          /* how often rules were loosened */
    struct event *again;     /* NULL where only this process writes the store */
};

void poll_want_finish(struct poll_want *want) {
    for (size_t i = 0; i < want->n_services; i++)
        free(want->services[i]);
    free(want->services);
    *want = (struct poll_want){.max = 0};
}

static void poll_destroy(struct poll *poll) {
    TAILQ_REMOVE(&poll->polls->all, poll, in_all);
    poll_want_finish(&poll->want);
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
    buf_str(buf, ",\"deadline\":");
    call_put_time(buf, task->deadline);
    message_put_trace(task, buf);
    buf_char(buf, '}');
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
static bool ask(struct poll *poll);

/* Waits no more: the API stops, a newer poll has come, or its time is up. */
static bool is_over(const struct poll *poll) {
    return poll->ended || poll->polls->api->draining || poll->until_ms <= clock_mono_ms();
}

static void wake_one(struct polls *polls, const char *service);

static bool has_taken(const struct op *op, const char *service) {
    for (size_t i = 0; i < op->n_tasks; i++)
        if (strcmp(op->tasks[i].service, service) == 0)
            return true;
    return false;
}

/* It was woken for one task and has found a better one, of another service: whoever waits for the
 * first does not know of it. */
static void pass_on(const struct poll *poll, const struct op *op) {
    if (poll->sent_for && op->n_tasks > 0 && !has_taken(op, poll->sent_for))
        wake_one(poll->polls, poll->sent_for);
}

static void on_taken(struct op *op, void *arg) {
    struct poll *poll = arg;
    bool loosened = poll->asked_at != poll->polls->wakes; /* it was decided by older rules */
    pass_on(poll, op);
    poll->sent_for = NULL;
    if (op->rc != RC_OK)
        refuse(poll, op->rc, op->text);
    else if (op->n_tasks > 0 || is_over(poll))
        answer(poll, op);
    else if (loosened)
        (void)ask(poll);
    else
        park(poll);
}

static bool copy_services(const struct poll_want *want, struct op *op) {
    op->services = calloc(want->n_services, sizeof *op->services);
    for (size_t i = 0; op->services && i < want->n_services; i++) {
        op->services[i] = strdup(want->services[i]);
        if (!op->services[i])
            break;
        op->n_services++;
    }
    return op->n_services == want->n_services;
}

static struct op *take_op(const struct poll *poll) {
    const struct poll_want *want = &poll->want;
    struct op *op = op_create(OP_TAKE);
    if (!op)
        return NULL;
    op->broker = api_has_broker(poll->polls->api);
    op->access = token_access(poll->call->token);
    op->max = want->max;
    op->timeout_ms = want->timeout_ms;
    op->lease_ms = poll->polls->api->cfg->lease_ms;
    op->asked_lease_ms = want->lease_ms;
    memcpy(op->claim_id, want->claim_id, sizeof op->claim_id);
    memcpy(op->worker_id, want->worker_id, sizeof op->worker_id);
    if (copy_services(want, op))
        return op;
    op_destroy(op);
    return NULL;
}

/* Asks the store, for a poll that may wait only if its client is still there: else false, and the
 * answer goes nowhere. */
static bool ask(struct poll *poll) {
    if (poll->want.wait_ms > 0 && http_req_client_gone(poll->call->req)) {
        answer(poll, NULL);
        return false;
    }
    poll->asked_at = poll->polls->wakes;
    struct op *op = take_op(poll);
    enum rc rc = op ? executor_apply(poll->polls->api->executor, op, on_taken, poll) : RC_NO_MEMORY;
    if (rc != RC_OK)
        refuse(poll, rc, NULL);
    return true;
}

static void unpark(struct poll *poll) {
    TAILQ_REMOVE(&poll->polls->parked, poll, link);
    poll->parked = false;
    event_del(poll->expire);
}

/* Asks the store for a parked poll; false: its client has gone. */
static bool wake(struct poll *poll) {
    unpark(poll);
    return ask(poll);
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
    poll->parked = true;
}

/* The poll's own copy of the name, or NULL. */
static const char *wanted(const struct poll *poll, const char *service) {
    for (size_t i = 0; i < poll->want.n_services; i++)
        if (strcmp(poll->want.services[i], service) == 0)
            return poll->want.services[i];
    return NULL;
}

/* The longest waiting poll that may take a task of the service; it has to ask for one. */
static struct poll *find_poll(struct polls *polls, const char *service) {
    struct poll *poll;
    TAILQ_FOREACH(poll, &polls->parked, link)
    if ((poll->sent_for = wanted(poll, service)))
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

/* Those that wait for a task of the service; NULL: of any. */
static void wake_all(struct polls *polls, const char *service) {
    struct poll_list parked = TAILQ_HEAD_INITIALIZER(parked);
    TAILQ_CONCAT(&parked, &polls->parked, link);
    struct poll *poll;
    while ((poll = TAILQ_FIRST(&parked))) {
        TAILQ_REMOVE(&parked, poll, link);
        TAILQ_INSERT_TAIL(&polls->parked, poll, link);
        if (!service || wanted(poll, service))
            (void)wake(poll);
    }
}

/* Takes the polls that wait for what the create will make due out of those that are parked. */
static void gather(struct polls *polls, const struct op *op, struct poll_list *ret) {
    struct poll *poll;
    for (size_t i = 0; i < op->n_tasks && !TAILQ_EMPTY(&polls->parked); i++) {
        if (!lifecycle_takeable(&op->tasks[i]) || !(poll = find_poll(polls, op->tasks[i].service)))
            continue;
        unpark(poll);
        TAILQ_INSERT_TAIL(ret, poll, link);
    }
}

enum rc polls_create_tasks(struct polls *polls, struct op *op, op_done *done, void *arg,
                           size_t *ret_asked) {
    struct poll_list along = TAILQ_HEAD_INITIALIZER(along);
    struct poll *poll;
    if (!polls->again) /* elsewhere a batch does not keep the order of creates and takes */
        gather(polls, op, &along);
    enum rc rc = executor_apply(polls->api->executor, op, done, arg);
    *ret_asked = 0;
    while ((poll = TAILQ_FIRST(&along))) {
        TAILQ_REMOVE(&along, poll, link);
        if (rc != RC_OK)
            park(poll);
        else
            *ret_asked += ask(poll);
    }
    return rc;
}

/* A run has ended: where a limit kept others from running there is room now. */
static bool makes_room(const struct polls *polls, const struct task *task) {
    bool final = task->status == TASK_FINISHED || task->status == TASK_FAILED;
    bool ended = final || (task->status == TASK_WAITING && task->sub == SUB_RETRY);
    return ended && service_max_running(services_rules(polls->api->services), task->service) > 0;
}

/* It stood before others: searches may have found it alone, and polls wait though those are due.
 */
static bool gives_way(const struct op *op, const struct task *task) {
    return op->kind == OP_ALARM && task->status == TASK_FAILED;
}

/* Whether a poll that waits for tasks of its service has to ask again. */
static bool wakes(const struct polls *polls, const struct task *task) {
    return lifecycle_takeable(task) || makes_room(polls, task);
}

void polls_notice(struct polls *polls, const struct op *op, size_t asked) {
    static const bool may_queue[OP_KINDS] = {
        [OP_CREATE] = true,    [OP_START] = true, [OP_FINISH] = true, [OP_FAIL] = true,
        [OP_HAND_BACK] = true, [OP_LAPSE] = true, [OP_ALARM] = true,  [OP_CANCEL] = true,
    };
    if (op->rc != RC_OK || !may_queue[op->kind])
        return;
    for (size_t i = 0; i < op->n_tasks && !TAILQ_EMPTY(&polls->parked); i++)
        if (gives_way(op, &op->tasks[i])) {
            wake_all(polls, op->tasks[i].service);
        } else if ((!op->task_rc || op->task_rc[i] == RC_OK) && wakes(polls, &op->tasks[i])) {
            if (asked > 0)
                asked--;
            else
                wake_one(polls, op->tasks[i].service);
        }
}

void polls_wake(struct polls *polls, const char *service) {
    polls->wakes++;
    wake_all(polls, service);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    wake_all(arg, NULL);
}

/* One that is with the store ends with what that gives. */
static void end_older(struct polls *polls, const struct call *call, const char *worker_id) {
    struct poll *poll, *next;
    for (poll = TAILQ_FIRST(&polls->all); worker_id[0] && poll; poll = next) {
        next = TAILQ_NEXT(poll, in_all);
        if (strcmp(poll->want.worker_id, worker_id) != 0 ||
            strcmp(poll->call->token->name, call->token->name) != 0) /* anybody can name a worker */
            continue;
        poll->ended = true;
        if (!poll->parked)
            continue;
        unpark(poll);
        answer(poll, NULL);
    }
}

void polls_take(struct polls *polls, struct call *call, struct poll_want *want) {
    struct poll *poll = calloc(1, sizeof *poll);
    if (!poll) {
        poll_want_finish(want);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    end_older(polls, call, want->worker_id);
    poll->polls = polls;
    poll->call = call;
    poll->want = *want;
    *want = (struct poll_want){.max = 0};
    poll->until_ms = clock_mono_ms() + poll->want.wait_ms;
    TAILQ_INSERT_TAIL(&polls->all, poll, in_all);
    (void)ask(poll);
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
    TAILQ_INIT(&polls->all);
    if (api_shares_store(api)) {
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
