/* service.c: what has been set of services. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

/* A part that is not named is bound as NULL: it stays. */
static int bind_part(sqlite3_stmt *stmt, int number, bool named, int64_t value) {
    return named ? sqlite3_bind_int64(stmt, number, value) : sqlite3_bind_null(stmt, number);
}

int sqlite_service_set(struct sqlite_conn *conn, const struct op *op) {
    const struct service_rule *rule = &op->service;
    unsigned parts = op->service_parts;
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_SERVICE_SET, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, rule->name, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = bind_part(stmt, 2, parts & SERVICE_PAUSED, rule->paused);
    if (sq == SQLITE_OK)
        sq = bind_part(stmt, 3, parts & SERVICE_MAX_RUNNING, rule->max_running);
    if (sq == SQLITE_OK)
        sq = bind_part(stmt, 4, parts & SERVICE_MAX_WAITING, rule->max_waiting);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

static int read_service(sqlite3_stmt *stmt, struct query *query) {
    struct service_rule *set = reallocarray(query->set, query->n_set + 1, sizeof *set);
    const char *name = (const char *)sqlite3_column_text(stmt, 0);
    if (set)
        query->set = set;
    if (!set || !name)
        return SQLITE_NOMEM;
    struct service_rule rule = service_rule_unset(name);
    rule.paused = sqlite3_column_int(stmt, 1);
    rule.max_running = sqlite3_column_int64(stmt, 2);
    rule.max_waiting = sqlite3_column_int64(stmt, 3);
    set[query->n_set++] = rule;
    return SQLITE_OK;
}

int sqlite_services_load(struct sqlite_conn *conn, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_SERVICES, &stmt);
    if (sq != SQLITE_OK)
        return sq;
    while ((sq = sqlite3_step(stmt)) == SQLITE_ROW) {
        sq = read_service(stmt, query);
        if (sq != SQLITE_OK)
            break;
    }
    sqlite3_reset(stmt);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}
