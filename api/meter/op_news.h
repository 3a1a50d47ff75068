/* op_news.h: what an op that has its outcome did to one of its tasks, as it is counted. Pure
 * functions.
 *
 * Only what took effect is news: a claim or a report that was made again changes nothing and tells
 * nothing.
 */
#ifndef LH_API_OP_NEWS_H
#define LH_API_OP_NEWS_H

#include "task/op.h"

struct op_news {
    const struct task *task; /* borrowed from the op */
    bool created;
    bool claimed;        /* a run has begun */
    bool finished;       /* the task is finished */
    bool failed;         /* the task has failed for good; task->sub says why */
    bool retried;        /* an attempt has failed and there will be a further one */
    bool lease_lost;     /* the lease of its run has run out */
    bool removed;        /* it is gone */
    bool fenced;         /* the word of a run that does not hold the task was refused */
    enum task_end ended; /* how the run ended that this op ended; END_NONE: it ended none */
    int64_t wait_ms;     /* claimed: since the task was due; -1: not known, as below */
    int64_t run_ms;      /* its run said its last word: since its claim */
    int64_t kill_ms;     /* its run was proven dead after a cancel: since that */
};

/* Of task i of the op. */
struct op_news op_news(const struct op *op, size_t i);

#endif
