/* store_services.c: services that are paused and limited. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <stdlib.h>
#include <string.h>

static enum rc do_under(struct op *op, struct service_rules *rules) {
    op->rules = rules;
    return kit_do(op);
}

static struct op *service_op(const char *service, unsigned parts, struct service_rule rule) {
    struct op *op = kit_op(OP_SERVICE, NULL);
    op->service = rule;
    op->service_parts = parts;
    assert_true(mem_copy_str(op->service.name, sizeof op->service.name, service));
    return op;
}

/* What is set of a service; a name of "" where nothing is. */
static struct service_rule service_of(const char *name) {
    struct query *query = query_create(QUERY_SERVICES);
    struct service_rule found = {.name = ""};
    kit_query(query);
    for (size_t i = 0; i < query->n_set; i++)
        if (strcmp(query->set[i].name, name) == 0)
            found = query->set[i];
    query_destroy(query);
    return found;
}

static void check_service(const char *name, bool paused, int64_t max_running, int64_t max_waiting) {
    struct service_rule service = service_of(name);
    assert_string_equal(service.name, name);
    assert_int_equal(service.paused, paused);
    assert_int_equal(service.max_running, max_running);
    assert_int_equal(service.max_waiting, max_waiting);
}

/* Only the named parts change; what is set stays, also over a restart; what is unset says so. */
void test_service_state(void **state) {
    (void)state;
    char name[SERVICE_CAP], other[SERVICE_CAP];
    kit_service(name);
    kit_service(other);
    assert_string_equal(service_of(name).name, "");
    struct service_rule rule = {.paused = true, .max_running = 7, .max_waiting = 9};
    assert_int_equal(kit_do(service_op(name, SERVICE_PAUSED, rule)), RC_OK);
    check_service(name, true, SERVICE_LIMIT_UNSET, SERVICE_LIMIT_UNSET);
    assert_int_equal(kit_do(service_op(name, SERVICE_MAX_RUNNING, rule)), RC_OK);
    assert_int_equal(kit_do(service_op(other, SERVICE_MAX_WAITING, rule)), RC_OK);
    rule.paused = false;
    assert_int_equal(kit_do(service_op(name, SERVICE_PAUSED | SERVICE_MAX_WAITING, rule)), RC_OK);
    check_service(name, false, 7, 9);
    check_service(other, false, SERVICE_LIMIT_UNSET, 9);
    rule.max_running = SERVICE_LIMIT_UNSET;
    rule.max_waiting = 0;
    assert_int_equal(kit_do(service_op(name, SERVICE_MAX_RUNNING | SERVICE_MAX_WAITING, rule)),
                     RC_OK);
    kit_reopen();
    check_service(name, false, SERVICE_LIMIT_UNSET, 0);
    check_service(other, false, SERVICE_LIMIT_UNSET, 9);
}

/* No run begins; what has begun goes on, and ends. */
void test_paused_service(void **state) {
    (void)state;
    char name[SERVICE_CAP], running[TASK_TEXT_CAP], id[TASK_TEXT_CAP], done[TASK_TEXT_CAP];
    kit_service(name);
    struct service_rules *rules = kit_rules(name, true, 0, 0);
    kit_new_task(name, true, false, running);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, running, RUN_A)), RC_OK);
    kit_new_task(name, true, false, id);
    kit_new_task(name, true, false, done);
    struct task before = kit_get(id);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, id, RUN_B), rules), RC_SERVICE_PAUSED);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, id, ""), rules), RC_SERVICE_PAUSED);
    struct task after = kit_get(id);
    kit_assert_same_task(&before, &after); /* without a broker nothing has to ring */
    struct op *take = kit_take(name, 10);
    take->rules = rules;
    assert_int_equal(kit_apply(take), RC_OK);
    assert_int_equal(take->n_tasks, 0);
    op_destroy(take);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, running, RUN_A), rules), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_HEARTBEAT, running, RUN_A), rules), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_FINISH, running, RUN_A), rules), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_FINISH, done, ""), rules), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_B)), RC_OK); /* resumed */
    task_finish(&before);
    task_finish(&after);
    service_rules_unref(rules);
}

/* How many of the service's messages wait for it. */
static size_t parked_of(const char *name, int64_t limit, int64_t max_running) {
    struct query *query = query_create_of(QUERY_PARKED, 2);
    assert_true(query_add_service(query, name));
    if (!max_running) /* the limit is of one service */
        assert_true(query_add_service(query, "nobody"));
    query->limit = limit;
    query->max_running = max_running;
    kit_query(query);
    size_t n = query->n_tasks;
    for (size_t i = 0; i < n; i++)
        assert_string_equal(query->tasks[i].service, name);
    query_destroy(query);
    return n;
}

static void check_parked(const char *id, bool parked, int64_t seq) {
    struct task task = kit_get(id);
    assert_true(task.outbox_pending);
    assert_int_equal(task.outbox_seq, seq);
    assert_int_equal(task.outbox_pick_at == OUTBOX_PARKED, parked);
    task_finish(&task);
}

static struct op *pick_op(const char *id, int64_t seq) {
    struct op *op = kit_op(OP_PICK, id);
    op->broker = true;
    op->outbox_seq = seq;
    op->pick_void_ms = 5000;
    return op;
}

/* Messages of a paused service are put away, whatever makes the task due, and go out after. */
void test_paused_outbox(void **state) {
    (void)state;
    char name[SERVICE_CAP], held[TASK_TEXT_CAP], old[TASK_TEXT_CAP];
    kit_service(name);
    struct service_rules *rules = kit_rules(name, true, 0, 0);
    kit_new_task(name, false, true, held);
    kit_new_task(name, true, true, old);
    struct op *create = kit_create(name, 3, true, true), *start = kit_op(OP_START, held);
    create->rules = rules;
    assert_int_equal(kit_apply(create), RC_OK);
    for (size_t i = 0; i < 3; i++)
        check_parked(create->tasks[i].task_id, true, 1);
    assert_int_equal(create->tasks[0].outbox_pick_at, OUTBOX_PARKED); /* nobody sends it now */
    start->broker = true;
    assert_int_equal(do_under(start, rules), RC_OK);
    check_parked(held, true, 1);
    check_parked(old, false, 1); /* under way since before */
    assert_int_equal(parked_of(name, 100, 0), 4);
    assert_int_equal(parked_of(name, 3, 0), 3);
    struct op *pick = pick_op(old, 1);
    pick->now_ms += 10000;
    assert_int_equal(do_under(pick, rules), RC_OK);
    check_parked(old, true, 1);
    assert_int_equal(parked_of(name, 100, 0), 5);
    assert_int_equal(parked_of(name, 100, 2), 2);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kit_do(pick_op(create->tasks[i].task_id, 1)), RC_OK); /* resumed */
        check_parked(create->tasks[i].task_id, false, 1);
    }
    assert_int_equal(kit_do(pick_op(create->tasks[0].task_id, 1)), RC_NOT_DUE);
    assert_int_equal(parked_of(name, 100, 0), 2);
    op_destroy(create);
    service_rules_unref(rules);
}

/* A module without run_id has used its message up: the task gets another one. With a run_id the
 * consumer keeps the message. */
void test_refused_claim_rings_later(void **state) {
    (void)state;
    char name[SERVICE_CAP], id[TASK_TEXT_CAP], busy[TASK_TEXT_CAP];
    kit_service(name);
    struct service_rules *paused = kit_rules(name, true, 0, 0);
    struct service_rules *full = kit_rules(name, false, 1, 0);
    kit_new_task(name, true, true, id);
    kit_new_task(name, true, true, busy);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, busy, RUN_B)), RC_OK);
    struct op *claim = kit_run_op(OP_CLAIM, id, RUN_A);
    claim->broker = true;
    assert_int_equal(do_under(claim, paused), RC_SERVICE_PAUSED);
    check_parked(id, false, 1);
    claim = kit_run_op(OP_CLAIM, id, "");
    claim->broker = true;
    assert_int_equal(do_under(claim, paused), RC_SERVICE_PAUSED);
    check_parked(id, true, 2);
    struct op *report = kit_op(OP_DELIVERED, id); /* of the message that is used up */
    report->outbox_seq = 1;
    assert_int_equal(kit_do(report), RC_OK);
    check_parked(id, true, 2);
    claim = kit_run_op(OP_CLAIM, id, "");
    claim->broker = true;
    assert_int_equal(do_under(claim, full), RC_LIMIT_REACHED);
    check_parked(id, true, 3);
    assert_int_equal(parked_of(name, 10, 0), 1);
    assert_int_equal(parked_of(name, 10, 1), 0); /* no room beside the one that runs */
    assert_int_equal(parked_of(name, 10, 2), 1);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, busy, RUN_B)), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, id, RUN_A), full), RC_OK);
    assert_int_equal(do_under(pick_op(id, 3), full), RC_OK); /* it runs: nobody has to be told */
    assert_int_equal(parked_of(name, 10, 0), 0);
    struct task task = kit_get(id);
    assert_false(task.outbox_pending);
    task_finish(&task);
    service_rules_unref(paused);
    service_rules_unref(full);
}

void test_running_limit(void **state) {
    (void)state;
    char name[SERVICE_CAP], ids[3][TASK_TEXT_CAP];
    kit_service(name);
    struct service_rules *rules = kit_rules(name, false, 2, 0);
    for (int i = 0; i < 3; i++)
        kit_new_task(name, true, false, ids[i]);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, ids[0], RUN_A), rules), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, ids[1], ""), rules), RC_OK);
    struct op *third = kit_run_op(OP_CLAIM, ids[2], RUN_B);
    third->rules = rules;
    assert_int_equal(kit_apply(third), RC_LIMIT_REACHED);
    assert_non_null(strstr(third->text, "(2)"));
    op_destroy(third);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, ids[0], RUN_A), rules), RC_OK); /* again */
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, ids[1], "")), RC_OK);
    assert_int_equal(do_under(kit_run_op(OP_CLAIM, ids[2], RUN_B), rules), RC_OK);
    service_rules_unref(rules);
}

/* A take passes over paused services, takes up to the limit of another, and the rest elsewhere. */
void test_takes_within_limits(void **state) {
    (void)state;
    char names[3][SERVICE_CAP];
    static const size_t given[] = {0, 2, 3};
    struct service_rule rules[3] = {{.paused = true}, {.max_running = 2}, {.max_running = 0}};
    for (size_t i = 0; i < 3; i++) {
        kit_service(names[i]);
        mem_copy_str(rules[i].name, sizeof rules[i].name, names[i]);
        assert_int_equal(kit_do(kit_create(names[i], 5, true, false)), RC_OK);
    }
    struct op *take = kit_take(names[0], 5);
    take->services = realloc(take->services, 3 * sizeof *take->services);
    take->services[take->n_services++] = kit_dup(names[1]);
    take->services[take->n_services++] = kit_dup(names[2]);
    struct service_rules *all = service_rules_create(rules, 3);
    take->rules = all;
    assert_int_equal(kit_apply(take), RC_OK);
    assert_int_equal(take->n_tasks, 5);
    for (size_t i = 0; i < 3; i++) {
        size_t n = 0;
        for (size_t k = 0; k < take->n_tasks; k++)
            n += strcmp(take->tasks[k].service, names[i]) == 0;
        assert_int_equal(n, given[i]);
    }
    op_destroy(take);
    service_rules_unref(all);
}

/* All claims of a batch count, and so do its takes. */
void test_limit_in_one_batch(void **state) {
    (void)state;
    char name[SERVICE_CAP], ids[6][TASK_TEXT_CAP];
    kit_service(name);
    struct service_rules *rules = kit_rules(name, false, 3, 0);
    struct op *ops[8] = {0};
    size_t held = 0;
    for (int i = 0; i < 6; i++) {
        char run_id[UUID_CAP];
        uuid_make(run_id);
        kit_new_task(name, true, false, ids[i]);
        ops[i] = kit_run_op(OP_CLAIM, ids[i], run_id);
    }
    assert_int_equal(kit_do(kit_create(name, 3, true, false)), RC_OK);
    ops[6] = kit_take(name, 2);
    ops[7] = kit_take(name, 2);
    for (int i = 0; i < 8; i++)
        ops[i]->rules = rules;
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, 8, &err), RC_OK);
    for (int i = 0; i < 6; i++) {
        assert_true(ops[i]->rc == RC_OK || ops[i]->rc == RC_LIMIT_REACHED);
        held += ops[i]->rc == RC_OK;
    }
    assert_int_equal(held + ops[6]->n_tasks + ops[7]->n_tasks, 3);
    for (int i = 0; i < 8; i++)
        op_destroy(ops[i]);
    service_rules_unref(rules);
}

/* One after another, many runs never hold more tasks than may run at a time. */
void test_limit_round_after_round(void **state) {
    (void)state;
    char name[SERVICE_CAP];
    kit_service(name);
    struct service_rules *rules = kit_rules(name, false, 4, 0);
    assert_int_equal(kit_do(kit_create(name, 20, true, false)), RC_OK);
    size_t done = 0;
    for (int round = 0; round < 5; round++) {
        struct op *take = kit_take(name, 3), *more = kit_take(name, 3);
        take->rules = more->rules = rules;
        assert_int_equal(kit_apply(take), RC_OK);
        assert_int_equal(kit_apply(more), RC_OK);
        assert_int_equal(take->n_tasks, 3);
        assert_int_equal(more->n_tasks, 1);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(
                kit_do(kit_run_op(OP_FINISH, take->tasks[i].task_id, take->tasks[i].run_id)),
                RC_OK);
        assert_int_equal(
            kit_do(kit_run_op(OP_FINISH, more->tasks[0].task_id, more->tasks[0].run_id)), RC_OK);
        done += 4;
        op_destroy(take);
        op_destroy(more);
    }
    assert_int_equal(done, 20);
    service_rules_unref(rules);
}
