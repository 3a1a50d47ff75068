/* task.c: names of statuses and ownership of tasks. */
#include "task/task.h"

#include "base/mem.h"

#include <string.h>

static const char *const status_names[TASK_STATUSES] = {"ready", "waiting", "running", "finished",
                                                        "failed"};
static const char *const sub_names[TASK_SUBS] = {NULL,      "held",  "producing", "queued",
                                                 "claimed", "error", "started",   "crash"};
static const char *const lapse_names[TASK_LAPSES] = {NULL, "crash", "undelivered"};
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

void task_finish(struct task *task) {
    free(task->source_name);
    free(task->condition);
    free(task->result);
    free(task->error_text);
    for (size_t i = 0; i < TASK_MESSAGES; i++)
        free(task->message[i]);
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
