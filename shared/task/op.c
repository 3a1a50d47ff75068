/* op.c: making and freeing operations. */
#include "task/op.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *const kind_names[OP_KINDS] = {
    "create",    "claim",     "take",  "finish",    "fail",          "start",  "edit",
    "heartbeat", "hand_back", "lapse", "cancel",    "alarm",         "worker", "service",
    "remove",    "forget",    "pick",  "delivered", "undeliverable", "log",    "output"};

struct op *op_create(enum op_kind kind) {
    struct op *op = calloc(1, sizeof *op);
    if (op)
        op->kind = kind;
    return op;
}

struct op *op_create_for(enum op_kind kind, const char *task_id, const uint8_t oid[OBJECT_ID_LEN]) {
    struct op *op = op_create(kind);
    if (!op)
        return NULL;
    (void)mem_copy_str(op->task_id, sizeof op->task_id, task_id);
    memcpy(op->oid, oid, sizeof op->oid);
    op->has_oid = true;
    return op;
}

void op_destroy(struct op *op) {
    if (!op)
        return;
    free(op->message);
    free(op->value);
    free(op->progress);
    free(op->error_text);
    free(op->place);
    for (size_t i = 0; op->services && i < op->n_services; i++)
        free(op->services[i]);
    free(op->services);
    free(op->timeouts_ms);
    tasks_free(op->tasks, op->n_tasks);
    free(op->task_rc);
    free(op);
}

struct op *op_move(struct op *op) {
    struct op *moved = malloc(sizeof *moved);
    if (!moved)
        return NULL;
    *moved = *op;
    *op = (struct op){.kind = op->kind};
    return moved;
}

int64_t op_timeout_ms(const struct op *op, const char *service) {
    for (size_t i = 0; op->timeouts_ms && i < op->n_services; i++)
        if (strcmp(op->services[i], service) == 0)
            return op->timeouts_ms[i];
    return op->timeout_ms;
}

const char *op_kind_name(enum op_kind kind) {
    return kind_names[kind];
}

bool op_is_of_task(enum op_kind kind) {
    static const bool others[OP_KINDS] = {
        [OP_CREATE] = true,  [OP_TAKE] = true, [OP_WORKER] = true,
        [OP_SERVICE] = true, [OP_LOG] = true,  [OP_FORGET] = true,
    };
    return !others[kind];
}

bool op_needs_condition(const struct op *op) {
    static const bool tells[OP_KINDS] = {
        [OP_START] = true,     [OP_EDIT] = true,  [OP_PICK] = true,
        [OP_HAND_BACK] = true, [OP_LAPSE] = true, [OP_ALARM] = true,
    };
    return op->kind == OP_CLAIM || op->kind == OP_TAKE || (op->broker && tells[op->kind]);
}

bool op_needs_result(enum op_kind kind) {
    return kind == OP_FINISH;
}

bool op_needs_past(enum op_kind kind) {
    return kind == OP_CLAIM || kind == OP_FINISH || kind == OP_FAIL;
}
