/* store_kit.h: what the files of the store contract share: one store for the whole run, and short
 * ways to do one thing with it. Helpers fail the running test where the store itself fails.
 *
 * Each test uses services of its own, so that tests do not see one another's tasks.
 */
#ifndef LH_TESTS_STORE_KIT_H
#define LH_TESTS_STORE_KIT_H

#include "store/store.h"
#include "task/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RUN_A "01890000-0000-7000-8000-00000000000a"
#define RUN_B "01890000-0000-7000-8000-00000000000b"

enum { KIT_READERS = 3 };

extern struct store *kit_store;

/* Readies a folder or database of its own and opens the store that LONGHAUL_TEST_STORE names. */
int kit_setup(void **state);
int kit_teardown(void **state);

bool kit_is_mongodb(void);

/* A second store over the same data (the SQLite file belongs to one at a time). */
struct store *kit_open(void);
void kit_reopen(void);

/* Starts this program again with `args` (NULL-terminated, after the program's name) and the same
 * data; its standard output is *ret_fd. */
pid_t kit_spawn_self(const char *const *args, int *ret_fd);

/* A time that rises with every call. */
int64_t kit_now(void);

/* A service name that no other test uses. */
void kit_service(char ret[SERVICE_CAP]);

/* An op with now_ms set; task_id may be NULL. */
struct op *kit_op(enum op_kind kind, const char *task_id);
struct op *kit_run_op(enum op_kind kind, const char *task_id, const char *run_id);
struct op *kit_take(const char *service, size_t max);
struct op *kit_create(const char *service, size_t n, bool start, bool broker);

/* The rules of one service, to hand to an op and to unref. Limits of 0: none. */
struct service_rules *kit_rules(const char *service, bool paused, int64_t max_running,
                                int64_t max_waiting);

/* Gives task i of a CREATE another condition (JSON text). */
void kit_set_condition(struct op *op, size_t i, const char *json, size_t len);

char *kit_dup(const char *text);

/* Applies one op and gives its rc; kit_do also destroys it. */
enum rc kit_apply(struct op *op);
enum rc kit_do(struct op *op);

/* Creates one task and copies its id. */
void kit_new_task(const char *service, bool start, bool broker, char ret_id[TASK_TEXT_CAP]);

/* The task with condition and result as it stands; task_id "" where there is none. */
struct task kit_get(const char *task_id);

void kit_query(struct query *query);

/* A QUERY_LIST with conditions, of one service or ("") of all. */
struct query *kit_list(const char *service, int64_t skip, int64_t limit);

/* True where all that a store keeps is equal. */
void kit_assert_same_task(const struct task *a, const struct task *b);

bool kit_same_json(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
