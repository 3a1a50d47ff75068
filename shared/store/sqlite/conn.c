/* conn.c: a connection to the file and the statements that it keeps prepared. */
#include "store/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>

#define TASK_COLUMNS                                                                               \
    "seq, oid, task_id, service, source_name, state, create_at, start_at, end_at, "                \
    "message_failed, message_running, message_finished, error_class, error_text, run_id, "         \
    "attempt, outbox_seq, outbox_pending, outbox_pick_at, rev, lease_until, beaten, crashes, "     \
    "undelivered, lapse, stored_at, priority, rank, expire_ms, timeout_ms, max_attempts, "         \
    "retry_kind, retry_base_ms, retry_max_ms, retry_jitter, tags, idem_key, due_at, expire_at, "   \
    "alarm_at, deadline, tried, cancel_at, grace_ms, cancel_reason, progress, claim_id, "          \
    "queued_at, produced_at, place, run_queued_at, run_produced_at, run_place, claimed_at, "       \
    "started_at, run_ended_at, run_end, worker, run_lease_ms, run_output_at, "                     \
    "run_token, traceparent, tracestate"

static const char *const texts[STMT_IDS] = {
    [STMT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STMT_BEGIN_READ] = "BEGIN",
    [STMT_COMMIT] = "COMMIT",
    [STMT_SUPERSEDE] = "UPDATE settled SET n = n + 1",
    [STMT_TASK_BY_ID] = "SELECT " TASK_COLUMNS " FROM task WHERE task_id = ?1",
    [STMT_TASK_BY_SEQ] = "SELECT " TASK_COLUMNS " FROM task WHERE seq = ?1",
    [STMT_TASK_BRIEF] = "SELECT seq, task_id, service, state, start_at, end_at, message_failed, "
                        "message_running, message_finished, error_class, error_text, attempt, "
                        "progress FROM task WHERE task_id = ?1",
    [STMT_TASK_LOOK] = "SELECT service, state, task_id, create_at, tags FROM task WHERE seq = ?1",
    [STMT_TASK_PREFIX] = "SELECT seq FROM task WHERE task_id >= ?1 AND task_id < ?2 LIMIT ?3",
    /* Without a seq it gets the one after the greatest. */
    [STMT_TASK_INSERT] =
        "INSERT INTO task (" TASK_COLUMNS
        ") VALUES ((SELECT seq + 1 FROM removed WHERE seq > coalesce((SELECT max(seq) FROM task), "
        "0)), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, "
        "?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, "
        "?36, ?37, ?38, ?39, ?40, ?41, ?42, ?43, ?44, ?45, ?46, ?47, ?48, ?49, ?50, ?51, ?52, ?53, "
        "?54, ?55, ?56, ?57, ?58, ?59, ?60, ?61, ?62, ?63)",
    [STMT_TASK_STATE] =
        "UPDATE task SET state = ?6, start_at = ?8, end_at = ?9, message_failed = ?10, "
        "message_running = ?11, message_finished = ?12, error_class = ?13, error_text = ?14, "
        "run_id = ?15, attempt = ?16, rev = ?20, lease_until = ?21, beaten = ?22, crashes = ?23, "
        "undelivered = ?24, lapse = ?25, due_at = ?38, expire_at = ?39, alarm_at = ?40, deadline = "
        "?41, tried = ?42, queued_at = ?48, produced_at = ?49, place = ?50, cancel_at = ?43, "
        "grace_ms = ?44, cancel_reason = ?45, progress = ?46, claim_id = ?47, run_queued_at = ?51, "
        "run_produced_at = ?52, run_place = ?53, claimed_at = ?54, started_at = ?55, run_ended_at "
        "= ?56, run_end = ?57, worker = ?58, run_lease_ms = ?59, run_output_at = ?60, run_token = "
        "?61, rank = ?28 "
        "WHERE seq = ?1",
    [STMT_TASK_LEASE] = "UPDATE task SET rev = ?20, lease_until = ?21 WHERE seq = ?1",
    [STMT_TASK_OUTBOX] = "UPDATE task SET outbox_seq = ?17, outbox_pending = ?18, "
                         "outbox_pick_at = ?19, rev = ?20 WHERE seq = ?1",
    [STMT_TASK_DELETE] = "DELETE FROM task WHERE seq = ?1",
    [STMT_REMOVED_SET] = "UPDATE removed SET seq = ?1 WHERE seq < ?1 "
                         "AND ?1 = (SELECT max(seq) FROM task)",
    [STMT_CONDITION_DELETE] = "DELETE FROM condition WHERE seq = ?1",
    [STMT_RUN_DELETE] = "DELETE FROM run WHERE seq = ?1",
    [STMT_GONE_ADD] = "INSERT OR REPLACE INTO gone (task_id, service, state, create_at, start_at, "
                      "end_at, removed_at, idem_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STMT_GONE_GET] = "SELECT service, state, create_at, start_at, end_at FROM gone "
                      "WHERE task_id = ?1",
    [STMT_GONE_OLDEST] = "SELECT seq, removed_at, service, idem_key, task_id FROM gone "
                         "ORDER BY seq LIMIT 1",
    [STMT_GONE_DELETE] = "DELETE FROM gone WHERE seq = ?1",
    [STMT_IDEM_DELETE] = "DELETE FROM idem WHERE service = ?1 AND key = ?2 AND task_id = ?3",
    [STMT_CONDITION_GET] = "SELECT value FROM condition WHERE seq = ?1",
    [STMT_CONDITION_SET] = "INSERT OR REPLACE INTO condition (seq, value) VALUES (?1, ?2)",
    [STMT_RESULT_GET] = "SELECT value FROM result WHERE seq = ?1",
    [STMT_RESULT_SET] = "INSERT OR REPLACE INTO result (seq, value) VALUES (?1, ?2)",
    [STMT_RESULT_DELETE] = "DELETE FROM result WHERE seq = ?1",
    [STMT_RUN_ADD] = "INSERT INTO run (seq, record) VALUES (?1, ?2)",
    [STMT_RUN_ALL] =
        "SELECT group_concat(record) FROM (SELECT record FROM run WHERE seq = ?1 ORDER BY id)",
    [STMT_IDEM_GET] = "SELECT hash, task_id FROM idem WHERE service = ?1 AND key = ?2",
    [STMT_IDEM_ADD] = "INSERT INTO idem (service, key, hash, task_id) VALUES (?1, ?2, ?3, ?4)",
    [STMT_ALARMS] =
        "SELECT " TASK_COLUMNS
        " FROM task WHERE alarm_at > 0 AND alarm_at <= ?1 ORDER BY alarm_at, seq LIMIT ?2",
    [STMT_BEST] = "SELECT " TASK_COLUMNS " FROM task WHERE service = ?1 AND state IN (102, 203) "
                  "AND state = 203 ORDER BY rank, seq LIMIT ?2",
    [STMT_OUTBOX_DUE] = "SELECT " TASK_COLUMNS " FROM task WHERE outbox_pending = 1 "
                        "AND outbox_pick_at < ?1 ORDER BY outbox_pick_at, service, seq LIMIT ?2",
    [STMT_LAPSED] =
        "SELECT " TASK_COLUMNS " FROM task WHERE lease_until > 0 "
        "AND lease_until <= ?1 AND run_lease_ms <= ?3 ORDER BY lease_until, seq LIMIT ?2",
    [STMT_CLAIMED] = "SELECT seq FROM task WHERE claim_id = ?1 AND state >= 300 AND state < 400 "
                     "ORDER BY rank, seq LIMIT ?2",
    [STMT_WORKER_SET] =
        "INSERT INTO worker (id, token, seen_at, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT "
        "(id, token) DO UPDATE SET seen_at = excluded.seen_at, value = excluded.value",
    [STMT_WORKER_FORGET] = "DELETE FROM worker WHERE seen_at < ?1",
    [STMT_WORKERS] =
        "SELECT id, token, seen_at, value FROM worker WHERE seen_at >= ?1 ORDER BY id, token",
    [STMT_LOG_GET] = "SELECT end, cut_from, cut_to, open_at, closed FROM log "
                     "WHERE seq = ?1 AND attempt = ?2 AND stream = ?3",
    [STMT_LOG_SET] = "INSERT OR REPLACE INTO log (seq, attempt, stream, end, cut_from, cut_to, "
                     "open_at, closed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STMT_LOG_DELETE] = "DELETE FROM log WHERE seq = ?1",
    [STMT_CHUNK_SET] = "INSERT OR REPLACE INTO log_chunk (seq, attempt, stream, at, until, bytes) "
                       "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [STMT_CHUNK_CUT] = "DELETE FROM log_chunk WHERE seq = ?1 AND attempt = ?2 AND stream = ?3 "
                       "AND at >= ?4 AND at < ?5 AND until <= ?5",
    [STMT_CHUNK_DELETE] = "DELETE FROM log_chunk WHERE seq = ?1",
    [STMT_CHUNKS] = "SELECT at, bytes FROM log_chunk WHERE seq = ?1 AND attempt = ?2 "
                    "AND stream = ?3 AND at > ?4 AND at < ?5 AND until > ?6 ORDER BY at",
    [STMT_SERVICE_SET] =
        "INSERT INTO service (name, paused, max_running, max_waiting) VALUES (?1, coalesce(?2, 0), "
        "coalesce(?3, -1), coalesce(?4, -1)) ON CONFLICT (name) DO UPDATE SET "
        "paused = coalesce(?2, paused), max_running = coalesce(?3, max_running), "
        "max_waiting = coalesce(?4, max_waiting)",
    [STMT_SERVICES] = "SELECT name, paused, max_running, max_waiting FROM service ORDER BY name",
    [STMT_UNSENT] = "SELECT count(*), min(nullif(queued_at, 0)) FROM (SELECT queued_at FROM task "
                    "WHERE outbox_pending = 1 AND outbox_pick_at < ?1 LIMIT ?2)",
    [STMT_PARKED] = "SELECT " TASK_COLUMNS " FROM task WHERE outbox_pending = 1 "
                    "AND outbox_pick_at = ?1 AND service = ?2 ORDER BY seq LIMIT ?3",
    [STMT_OLDEST] = "SELECT create_at FROM task WHERE service = ?1 AND state = ?2 "
                    "ORDER BY seq LIMIT 1",
    [STMT_COUNT_ALL] = "SELECT service, state, n FROM count WHERE n > 0 ORDER BY service, state",
    [STMT_COUNT_ADD] = "INSERT INTO count (service, state, n) VALUES (?1, ?2, ?3) "
                       "ON CONFLICT (service, state) DO UPDATE SET n = n + excluded.n",
    [STMT_PING] = "SELECT n FROM settled",
};

/* The caches fill only as they are used. */
static const char writer_settings[] = "PRAGMA journal_mode = WAL;"
                                      "PRAGMA synchronous = FULL;"
                                      "PRAGMA journal_size_limit = 67108864;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA cache_size = -16384;";
static const char reader_settings[] = "PRAGMA query_only = 1;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA cache_size = -4096;";

int sqlite_conn_open(struct sqlite_conn *conn, const char *path, bool writer) {
    *conn = (struct sqlite_conn){0};
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int sq = sqlite3_open_v2(path, &conn->db, flags, NULL);
    if (sq != SQLITE_OK)
        return sq;
    sqlite3_extended_result_codes(conn->db, 1);
    sqlite3_busy_timeout(conn->db, 5000);
    return sqlite3_exec(conn->db, writer ? writer_settings : reader_settings, NULL, NULL, NULL);
}

void sqlite_conn_close(struct sqlite_conn *conn) {
    for (size_t i = 0; i < STMT_IDS; i++)
        sqlite3_finalize(conn->stmts[i]);
    for (size_t i = 0; i < SQLITE_ORDERS; i++)
        sqlite_walks_finish(&conn->walks[i]);
    sqlite3_close(conn->db);
    *conn = (struct sqlite_conn){0};
}

int sqlite_conn_stmt(struct sqlite_conn *conn, enum sqlite_stmt_id id, sqlite3_stmt **ret) {
    if (!conn->stmts[id]) {
        int sq = sqlite3_prepare_v3(conn->db, texts[id], -1, SQLITE_PREPARE_PERSISTENT,
                                    &conn->stmts[id], NULL);
        if (sq != SQLITE_OK)
            return sq;
    }
    sqlite3_reset(conn->stmts[id]);
    *ret = conn->stmts[id];
    return SQLITE_OK;
}

int sqlite_stmt_done(sqlite3_stmt *stmt) {
    int sq = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

int sqlite_conn_run(struct sqlite_conn *conn, enum sqlite_stmt_id id) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

void sqlite_conn_rollback(struct sqlite_conn *conn) {
    for (size_t i = 0; i < STMT_IDS; i++)
        sqlite3_reset(conn->stmts[i]);
    for (size_t i = 0; i < SQLITE_ORDERS; i++)
        sqlite_walks_reset(&conn->walks[i]);
    if (!sqlite3_get_autocommit(conn->db))
        sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
}

bool sqlite_not_written(int sq) {
    return (sq & 0xff) == SQLITE_FULL || sq == SQLITE_IOERR_WRITE;
}

const char *sqlite_why(int sq) {
    if ((sq & 0xff) == SQLITE_FULL)
        return "the disk is full";
    if (sq == SQLITE_IOERR_WRITE)
        return "the disk takes no more: a quota, a size limit, or it is broken";
    return sqlite3_errstr(sq);
}
