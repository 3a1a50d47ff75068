/* op.c: making and freeing operations. */
#include "task/op.h"

#include <stdlib.h>

static const char *const kind_names[OP_KINDS] = {
    "create",    "claim",     "take",  "finish", "fail", "start",     "edit",
    "heartbeat", "hand_back", "lapse", "worker", "pick", "delivered", "undeliverable"};

struct op *op_create(enum op_kind kind) {
    struct op *op = calloc(1, sizeof *op);
    if (op)
        op->kind = kind;
    return op;
}

void op_destroy(struct op *op) {
    if (!op)
        return;
    free(op->message);
    free(op->value);
    free(op->error_text);
    for (size_t i = 0; op->services && i < op->n_services; i++)
        free(op->services[i]);
    free(op->services);
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

const char *op_kind_name(enum op_kind kind) {
    return kind_names[kind];
}

bool op_needs_condition(enum op_kind kind) {
    static const bool needs[OP_KINDS] = {
        [OP_CLAIM] = true, [OP_TAKE] = true,      [OP_START] = true, [OP_EDIT] = true,
        [OP_PICK] = true,  [OP_HAND_BACK] = true, [OP_LAPSE] = true,
    };
    return needs[kind];
}

bool op_needs_result(enum op_kind kind) {
    return kind == OP_FINISH;
}
