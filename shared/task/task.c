/* task.c: names of statuses and ownership of tasks. */
#include "task/task.h"

#include "base/mem.h"

#include <stddef.h>
#include <string.h>

static const char *const status_names[TASK_STATUSES] = {"ready", "waiting", "running", "finished",
                                                        "failed"};
static const char *const sub_names[TASK_SUBS] = {
    [SUB_HELD] = "held",           [SUB_PRODUCING] = "producing",
    [SUB_QUEUED] = "queued",       [SUB_CLAIMED] = "claimed",
    [SUB_ERROR] = "error",         [SUB_STARTED] = "started",
    [SUB_CRASH] = "crash",         [SUB_DELAYED] = "delayed",
    [SUB_RETRY] = "retry",         [SUB_CANCELLING] = "cancelling",
    [SUB_TIMEOUT] = "timeout",     [SUB_LIMIT] = "limit",
    [SUB_CANCELLED] = "cancelled", [SUB_EXPIRED] = "expired",
    [SUB_DEAD] = "dead",           [SUB_KILL_UNCONFIRMED] = "kill_unconfirmed",
    [SUB_REMOVED] = "removed",
};
static const char *const lapse_names[TASK_LAPSES] = {NULL, "crash", "undelivered", "kill"};
static const char *const end_names[TASK_ENDS] = {
    [END_FINISHED] = "finished",
    [END_ERROR] = "error",
    [END_TIMEOUT] = "timeout",
    [END_LIMIT] = "limit",
    [END_CANCELLED] = "cancelled",
    [END_KILL_UNCONFIRMED] = "kill_unconfirmed",
    [END_CRASH] = "crash",
    [END_LEASE_LOST] = "lease_lost",
    [END_HANDED_BACK] = "handed_back",
};
static const char *const retry_names[TASK_RETRY_KINDS] = {"exponential", "fixed"};
static const char *const class_names[] = {NULL, "fatal", "retryable"};
static const char *const message_names[TASK_MESSAGES] = {"failed", "running", "finished"};

static bool from_name(const char *const *names, size_t n, const char *name, unsigned *ret) {
    for (size_t i = 0; i < n; i++)
        if (names[i] && strcmp(names[i], name) == 0) {
            *ret = (unsigned)i;
            return true;
        }
    return false;
}

void task_init(struct task *task) {
    task->priority = PRIORITY_DEFAULT;
    task->max_attempts = 1;
    task->retry = (struct task_retry){RETRY_EXPONENTIAL, 5000, 600000, 200};
}

/* Where the texts stand that a task owns, but for condition and result, which have a length. */
static const size_t texts[] = {
    offsetof(struct task, source_name),
    offsetof(struct task, error_text),
    offsetof(struct task, message[MESSAGE_FAILED]),
    offsetof(struct task, message[MESSAGE_RUNNING]),
    offsetof(struct task, message[MESSAGE_FINISHED]),
    offsetof(struct task, tags),
    offsetof(struct task, idem_key),
    offsetof(struct task, traceparent),
    offsetof(struct task, tracestate),
    offsetof(struct task, cancel_reason),
    offsetof(struct task, progress),
    offsetof(struct task, queued.place),
    offsetof(struct task, run.queued.place),
    offsetof(struct task, past),
    offsetof(struct task, aside),
};

static char **text_at(struct task *task, size_t i) {
    return (char **)((char *)task + texts[i]);
}

bool task_own_texts(struct task *task) {
    bool all = true;
    for (size_t i = 0; i < LH_COUNT(texts); i++) {
        char **text = text_at(task, i);
        char *copy = *text ? strdup(*text) : NULL;
        all &= !*text || copy;
        *text = copy;
    }
    return all;
}

void task_finish(struct task *task) {
    free(task->condition);
    free(task->result);
    for (size_t i = 0; i < LH_COUNT(texts); i++)
        free(*text_at(task, i));
    *task = (struct task){0};
}

void tasks_free(struct task *tasks, size_t n) {
    for (size_t i = 0; tasks && i < n; i++)
        task_finish(&tasks[i]);
    free(tasks);
}

const char *task_status_name(enum task_status status) {
    return status_names[status];
}

bool task_status_from_name(const char *name, enum task_status *ret) {
    return from_name(status_names, LH_COUNT(status_names), name, ret);
}

const char *task_sub_name(enum task_sub sub) {
    return sub_names[sub];
}

bool task_sub_from_name(const char *name, enum task_sub *ret) {
    return from_name(sub_names, LH_COUNT(sub_names), name, ret);
}

const char *task_lapse_name(enum task_lapse lapse) {
    return lapse_names[lapse];
}

bool task_lapse_from_name(const char *name, enum task_lapse *ret) {
    return from_name(lapse_names, LH_COUNT(lapse_names), name, ret);
}

const char *task_end_name(enum task_end end) {
    return end_names[end];
}

bool task_end_from_name(const char *name, enum task_end *ret) {
    return from_name(end_names, LH_COUNT(end_names), name, ret);
}

const char *task_retry_name(enum task_retry_kind kind) {
    return retry_names[kind];
}

bool task_retry_from_name(const char *name, enum task_retry_kind *ret) {
    return from_name(retry_names, LH_COUNT(retry_names), name, ret);
}

const char *task_error_class_name(enum task_error_class error_class) {
    return class_names[error_class];
}

bool task_error_class_from_name(const char *name, enum task_error_class *ret) {
    return from_name(class_names, LH_COUNT(class_names), name, ret);
}

const char *task_message_name(enum task_message slot) {
    return message_names[slot];
}

const char *task_status_message(const struct task *task) {
    switch (task->status) {
    case TASK_RUNNING:
        return task->message[MESSAGE_RUNNING];
    case TASK_FINISHED:
        return task->message[MESSAGE_FINISHED];
    case TASK_FAILED:
        return task->message[MESSAGE_FAILED];
    default:
        return NULL;
    }
}
