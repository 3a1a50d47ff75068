/* store_sqlite_schema.c: the tables of the file, as steps from each version to the next. */
#include "store/store_sqlite.h"

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

/* steps[n] brings a file of version n to version n + 1. */
static const char *const steps[] = {version_1, version_2};
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
