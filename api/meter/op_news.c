/* op_news.c: what an op did to one of its tasks. */
#include "api/meter/op_news.h"

#include "task/lifecycle.h"

enum { UNKNOWN = -1 };

static int64_t span(int64_t from, int64_t to) {
    return from > 0 && to >= from ? to - from : UNKNOWN;
}

static void tell_claim(struct op_news *news) {
    const struct task_run *run = &news->task->run;
    news->claimed = true;
    news->wait_ms = span(run->queued.at, run->claimed_at);
}

static void tell_create(const struct op *op, size_t i, struct op_news *news) {
    bool stored = op->rc == RC_OK && (!op->task_rc || op->task_rc[i] == RC_OK);
    news->created = stored && !op->tasks[i].duplicate;
}

/* A call that is made again brings runs that began before. */
static void tell_take(const struct op *op, struct op_news *news) {
    if (op->rc == RC_OK && news->task->run.claimed_at >= op->now_ms)
        tell_claim(news);
}

/* A run that takes back the task whose lease it had lost begins nothing. */
static void tell_begin(const struct op *op, struct op_news *news) {
    if (op->parts & PART_STATE && news->task->run.claimed_at >= op->now_ms)
        tell_claim(news);
}

/* Where the task stands now that something has ended. */
static void tell_standing(struct op_news *news) {
    const struct task *task = news->task;
    news->finished = task->status == TASK_FINISHED;
    news->failed = task->status == TASK_FAILED;
    news->retried = task->status == TASK_WAITING && task->sub == SUB_RETRY;
}

/* A module of the base contract that never said `running` has claimed and ended in one step: how
 * long it ran is not known. */
static void tell_report(const struct op *op, struct op_news *news) {
    const struct task *task = news->task;
    if (!(op->parts & PART_STATE))
        return;
    tell_standing(news);
    news->ended = task->run.end;
    if (!task->run_id[0] && task->run.claimed_at == task->run.ended_at)
        tell_claim(news);
    else
        news->run_ms = span(task->run.claimed_at, task->run.ended_at);
    if (task->run.end == END_CANCELLED)
        news->kill_ms = span(task->cancel_at, task->run.ended_at);
}

static void tell_hand_back(const struct op *op, struct op_news *news) {
    const struct task *task = news->task;
    if (!(op->parts & PART_STATE))
        return;
    tell_standing(news);
    news->ended = task->run.end;
    if (task->run.end == END_CANCELLED)
        news->kill_ms = span(task->cancel_at, task->run.ended_at);
}

/* The run of a task that is being cancelled is still awaited after its lease. */
static void tell_lapse(const struct op *op, struct op_news *news) {
    const struct task *task = news->task;
    if (!(op->parts & PART_STATE) || task->status == TASK_RUNNING)
        return;
    tell_standing(news);
    news->ended = task->run.end;
    news->lease_lost = task->run.end == END_LEASE_LOST;
}

/* What ends a task that no run holds. */
static void tell_end(const struct op *op, struct op_news *news) {
    if (op->parts & PART_STATE)
        news->failed = news->task->status == TASK_FAILED;
}

static void tell_remove(const struct op *op, struct op_news *news) {
    news->removed = (op->parts & PART_REMOVED) != 0;
}

static void tell_nothing(const struct op *op, struct op_news *news) {
    (void)op;
    (void)news;
}

typedef void teller(const struct op *op, struct op_news *news);

static teller *const tellers[OP_KINDS] = {
    [OP_CLAIM] = tell_begin,   [OP_TAKE] = tell_take,         [OP_FINISH] = tell_report,
    [OP_FAIL] = tell_report,   [OP_HEARTBEAT] = tell_nothing, [OP_HAND_BACK] = tell_hand_back,
    [OP_LAPSE] = tell_lapse,   [OP_CANCEL] = tell_end,        [OP_ALARM] = tell_end,
    [OP_REMOVE] = tell_remove, [OP_UNDELIVERABLE] = tell_end,
};

struct op_news op_news(const struct op *op, size_t i) {
    struct op_news news = {
        .task = &op->tasks[i], .wait_ms = UNKNOWN, .run_ms = UNKNOWN, .kill_ms = UNKNOWN};
    teller *tell = tellers[op->kind];
    if (op->kind == OP_CREATE)
        tell_create(op, i, &news);
    else if (tell && op->rc == RC_OK)
        tell(op, &news);
    else if (tell && op->rc == RC_STALE_RUN)
        news.fenced = true;
    return news;
}
