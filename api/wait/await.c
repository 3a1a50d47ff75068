/* await.c: a call about named tasks, answered at once or when there is something to say. */
#include "api/wait/await.h"

#include "api/wait/waits.h"
#include "base/mem.h"

#include <string.h>

struct await {
    struct call *call;
    struct waiter *waiter;
    struct query *again; /* the ids and wishes of the query that was asked */
    await_ready *ready;
    call_answered *answer;
};

static void await_destroy(void *state) {
    struct await *await = state;
    if (!await)
        return;
    waiter_destroy(await->waiter);
    query_destroy(await->again);
    free(await);
}

bool await_all_final(const struct query *query) {
    for (size_t i = 0; i < query->n_tasks; i++) {
        const struct task *task = &query->tasks[i];
        if (task->task_id[0] && task->status != TASK_FINISHED && task->status != TASK_FAILED)
            return false;
    }
    return true;
}

static struct query *copy_question(const struct query *from) {
    struct query *copy = query_create_by_id((const char *const *)from->ids, from->n_ids);
    if (!copy)
        return NULL;
    copy->brief = from->brief;
    copy->want_condition = from->want_condition;
    copy->want_result = from->want_result;
    return copy;
}

static void on_answer(struct call *call, struct query *query) {
    struct await *await = call->state;
    bool changed = query->rc == RC_OK && waiter_sees(await->waiter, query->tasks);
    if (query->rc != RC_OK)
        call_reply_query(call, query);
    else if (waiter_is_over(await->waiter) || await->ready(query, changed))
        await->answer(call, query);
    else
        waiter_park(await->waiter);
}

static void ask_again(struct await *await) {
    struct query *query = copy_question(await->again);
    if (query)
        call_query(await->call, query, on_answer);
    else
        call_reply_rc(await->call, RC_NO_MEMORY, NULL);
}

/* What the store would say of the task is at hand. */
static void look(struct waiter *waiter, const struct task *end, void *arg) {
    (void)waiter;
    struct await *await = arg;
    if (!end || await->again->want_condition || !call_allows(await->call, end->service)) {
        ask_again(await);
        return;
    }
    struct task task = *end;
    struct query known = *await->again;
    known.rc = RC_OK;
    known.tasks = &task;
    known.n_tasks = 1;
    on_answer(await->call, &known);
}

static enum rc begin_wait(struct await *await, const struct query *query, int64_t wait_ms) {
    await->again = copy_question(query);
    if (!await->again)
        return RC_NO_MEMORY;
    return waiter_create(await->call->api->waits, await->call, query->ids, query->n_ids, wait_ms,
                         look, await, &await->waiter);
}

void await_tasks(struct call *call, struct query *query, int64_t wait_ms, await_ready *ready,
                 call_answered *answer) {
    if (wait_ms == 0) {
        call_query(call, query, answer);
        return;
    }
    struct await *await = calloc(1, sizeof *await);
    if (await)
        *await = (struct await){.call = call, .ready = ready, .answer = answer};
    call_keep(call, await, await_destroy);
    enum rc rc = await ? begin_wait(await, query, wait_ms) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, NULL);
}
