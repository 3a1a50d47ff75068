/* schema.c: the tables of the file, as steps from each version to the next. */
#include "store/sqlite/sqlite.h"

#include <stdio.h>

/* "LhTq" in PRAGMA application_id tells our files from other SQLite files. */
enum { APPLICATION_ID = 0x4c685471 };

/* Large values stand apart from the row that every change of status rewrites. task_state serves
 * lists and takes: the rows of one state of one service, in order of creation. */
static const char version_1[] =
    "CREATE TABLE task ("
    " seq INTEGER PRIMARY KEY, oid BLOB NOT NULL, task_id TEXT NOT NULL UNIQUE,"
    " service TEXT NOT NULL, source_name TEXT, state INTEGER NOT NULL,"
    " create_at INTEGER NOT NULL, start_at INTEGER NOT NULL, end_at INTEGER NOT NULL,"
    " message_failed TEXT, message_running TEXT, message_finished TEXT,"
    " error_class INTEGER NOT NULL, error_text TEXT, run_id TEXT, attempt INTEGER NOT NULL,"
    " outbox_seq INTEGER NOT NULL, outbox_pending INTEGER NOT NULL,"
    " outbox_pick_at INTEGER NOT NULL, rev INTEGER NOT NULL);"
    "CREATE INDEX task_state ON task (service, state);"
    "CREATE INDEX task_outbox ON task (outbox_pick_at) WHERE outbox_pending = 1;"
    "CREATE TABLE condition (seq INTEGER PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE result (seq INTEGER PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE count (service TEXT NOT NULL, state INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (service, state)) WITHOUT ROWID;"
    "CREATE TABLE settled (n INTEGER NOT NULL);"
    "INSERT INTO settled VALUES (0);";

/* Leases. task_lease holds the running tasks alone: the others have no lease. */
static const char version_2[] =
    "ALTER TABLE task ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN beaten INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN undelivered INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN lapse INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX task_lease ON task (lease_until) WHERE lease_until > 0;"
    "CREATE TABLE worker (id TEXT PRIMARY KEY, seen_at INTEGER NOT NULL, value TEXT NOT NULL)"
    " WITHOUT ROWID;";

/* Logs of runs (task/run_log.h). The chunk at `open_at` is the open part, written again as it
 * grows; no chunk has more than 64 KiB. */
static const char version_3[] =
    "CREATE TABLE log (seq INTEGER NOT NULL, attempt INTEGER NOT NULL, stream INTEGER NOT NULL,"
    " end INTEGER NOT NULL, cut_from INTEGER NOT NULL, cut_to INTEGER NOT NULL,"
    " open_at INTEGER NOT NULL, closed INTEGER NOT NULL,"
    " PRIMARY KEY (seq, attempt, stream)) WITHOUT ROWID;"
    "CREATE TABLE log_chunk (seq INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    " stream INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL, bytes BLOB NOT NULL,"
    " PRIMARY KEY (seq, attempt, stream, at));";

/* What a task's creator may ask for, what happens to it by itself, its runs. task_due serves takes:
 * the tasks that may be claimed, in the order of claiming. */
static const char version_4[] =
    "ALTER TABLE task ADD COLUMN stored_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN priority INTEGER NOT NULL DEFAULT 4;"
    "ALTER TABLE task ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN expire_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN timeout_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE task ADD COLUMN retry_kind INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN retry_base_ms INTEGER NOT NULL DEFAULT 5000;"
    "ALTER TABLE task ADD COLUMN retry_max_ms INTEGER NOT NULL DEFAULT 600000;"
    "ALTER TABLE task ADD COLUMN retry_jitter INTEGER NOT NULL DEFAULT 200;"
    "ALTER TABLE task ADD COLUMN tags TEXT;"
    "ALTER TABLE task ADD COLUMN idem_key TEXT;"
    "ALTER TABLE task ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN expire_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN alarm_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN deadline INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN cancel_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN grace_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN cancel_reason TEXT;"
    "ALTER TABLE task ADD COLUMN progress TEXT;"
    "ALTER TABLE task ADD COLUMN claim_id TEXT;"
    "ALTER TABLE task ADD COLUMN queued_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN produced_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN place TEXT;"
    "ALTER TABLE task ADD COLUMN run_queued_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN run_produced_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN run_place TEXT;"
    "ALTER TABLE task ADD COLUMN claimed_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN started_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN run_ended_at INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN run_end INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE task ADD COLUMN worker TEXT;"
    "UPDATE task SET rank = create_at - 4 * 600000, stored_at = create_at;"
    "CREATE INDEX task_due ON task (service, rank) WHERE state IN (102, 203);"
    "CREATE INDEX task_alarm ON task (alarm_at) WHERE alarm_at > 0;"
    "CREATE TABLE run (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, record TEXT NOT NULL);"
    "CREATE INDEX run_seq ON run (seq);"
    "CREATE TABLE idem (service TEXT NOT NULL, key TEXT NOT NULL, hash INTEGER NOT NULL,"
    " task_id TEXT NOT NULL, PRIMARY KEY (service, key)) WITHOUT ROWID;";

/* Services with a state. task_outbox also finds the messages that wait for a service. */
static const char version_5[] =
    "CREATE TABLE service (name TEXT PRIMARY KEY, paused INTEGER NOT NULL,"
    " max_running INTEGER NOT NULL, max_waiting INTEGER NOT NULL) WITHOUT ROWID;"
    "DROP INDEX task_outbox;"
    "CREATE INDEX task_outbox ON task (outbox_pick_at, service) WHERE outbox_pending = 1;";

/* The tasks that a claim_task call gave to runs that go on: a call that is made again finds them.
 */
static const char version_6[] = "CREATE INDEX task_claim ON task (claim_id)"
                                " WHERE claim_id IS NOT NULL AND state >= 300 AND state < 400;";

/* What is left of removed tasks, in the order of their removal. */
static const char version_7[] =
    "CREATE TABLE gone (seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE,"
    " service TEXT NOT NULL, state INTEGER NOT NULL, create_at INTEGER NOT NULL,"
    " start_at INTEGER NOT NULL, end_at INTEGER NOT NULL, removed_at INTEGER NOT NULL,"
    " idem_key TEXT);";

/* A run's lease may have a length of its own. */
static const char version_8[] =
    "ALTER TABLE task ADD COLUMN run_lease_ms INTEGER NOT NULL DEFAULT 0;";

/* When a run printed something for the first time. */
static const char version_9[] =
    "ALTER TABLE task ADD COLUMN run_output_at INTEGER NOT NULL DEFAULT 0;";

/* Which token claimed the run; NULL: the one that may do all. */
static const char version_10[] = "ALTER TABLE task ADD COLUMN run_token TEXT;";

/* The trace that a task belongs to. */
static const char version_11[] = "ALTER TABLE task ADD COLUMN traceparent TEXT;"
                                 "ALTER TABLE task ADD COLUMN tracestate TEXT;";

/* The seq of the newest task, as it was when that was removed: no other task gets it, or cursors
 * that stand there would pass one over. */
static const char version_12[] = "CREATE TABLE removed (seq INTEGER NOT NULL);"
                                 "INSERT INTO removed VALUES (0);";

/* Workers by their token, too. */
static const char version_13[] =
    "ALTER TABLE worker RENAME TO old_worker;"
    "CREATE TABLE worker (id TEXT NOT NULL, token TEXT NOT NULL, seen_at INTEGER NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (id, token)) WITHOUT ROWID;"
    "INSERT INTO worker SELECT id, '', seen_at, value FROM old_worker;"
    "DROP TABLE old_worker;";

/* steps[n] brings a file of version n to version n + 1. */
static const char *const steps[] = {version_1,  version_2,  version_3, version_4, version_5,
                                    version_6,  version_7,  version_8, version_9, version_10,
                                    version_11, version_12, version_13};
enum { VERSION = sizeof steps / sizeof *steps };

static int read_int(sqlite3 *db, const char *sql, int *ret) {
    sqlite3_stmt *stmt = NULL;
    int sq = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (sq == SQLITE_OK)
        sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW)
        *ret = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return sq == SQLITE_ROW ? SQLITE_OK : sq;
}

static int upgrade_from(sqlite3 *db, int version) {
    char done[96];
    snprintf(done, sizeof done, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             APPLICATION_ID, VERSION);
    int sq = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int i = version; sq == SQLITE_OK && i < VERSION; i++)
        sq = sqlite3_exec(db, steps[i], NULL, NULL, NULL);
    return sq == SQLITE_OK ? sqlite3_exec(db, done, NULL, NULL, NULL) : sq;
}

enum rc sqlite_schema_upgrade(struct sqlite_conn *conn, const char *path, struct error *err) {
    int version = 0, application = 0, objects = 0;
    int sq = read_int(conn->db, "PRAGMA user_version", &version);
    if (sq == SQLITE_OK)
        sq = read_int(conn->db, "PRAGMA application_id", &application);
    if (sq == SQLITE_OK)
        sq = read_int(conn->db, "SELECT count(*) FROM sqlite_schema", &objects);
    if (sq == SQLITE_OK && objects && application != APPLICATION_ID)
        return error_set(err, RC_CONFIG, "%s is not a longhaul store", path);
    if (sq == SQLITE_OK && version > VERSION)
        return error_set(err, RC_CONFIG,
                         "%s is of version %d; this program knows versions up to %d", path, version,
                         VERSION);
    if (sq == SQLITE_OK && version < VERSION)
        sq = upgrade_from(conn->db, version);
    if (sq != SQLITE_OK)
        return error_set(err, RC_CONFIG, "%s cannot be used: %s", path, sqlite_why(sq));
    return RC_OK;
}
