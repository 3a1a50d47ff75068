/* op.c: making and freeing operations. */
#include "task/op.h"

#include <stdlib.h>

static const char *const kind_names[OP_KINDS] = {"create",    "claim",        "take", "finish",
                                                 "fail",      "start",        "edit", "pick",
                                                 "delivered", "undeliverable"};

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

const char *op_kind_name(enum op_kind kind) {
    return kind_names[kind];
}

bool op_needs_condition(enum op_kind kind) {
    return kind == OP_CLAIM || kind == OP_TAKE || kind == OP_START || kind == OP_EDIT ||
           kind == OP_PICK;
}

bool op_needs_result(enum op_kind kind) {
    return kind == OP_FINISH;
}
