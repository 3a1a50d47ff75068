/* spool.h: reports kept on disk while the API is away.
 *
 *     <path>/<process>/lock            flock()ed by its process as long as it lives
 *     <path>/<process>/<run_id>.json   one report: the body of the call, as it is posted
 *     <path>/<process>-<run_id>.bad    a file that is no report, moved aside
 *
 * A process has a folder of its own, made when there is something to keep, so several may share the
 * path. A folder whose lock is free belongs to nobody alive; the next process that looks moves its
 * reports into its own. A report counts as kept when its file and the file's name are on disk.
 * Calls block for as long as the disk takes. Loop thread only.
 */
#ifndef LH_CONSUMER_SPOOL_H
#define LH_CONSUMER_SPOOL_H

#include "base/ids.h"
#include "base/json.h"
#include "task/task.h"

struct spool;

/* What a file says; `body` is borrowed from the text that was read. */
struct spool_report {
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    bool finished; /* says `finished`, else `failed` or `waiting` */
    struct json_span body;
};

/* False: it could not be taken; its file stays for a later process. */
typedef bool spool_each(const struct spool_report *report, void *arg);

/* Touches no disk yet. RC_NO_MEMORY. */
enum rc spool_create(const char *path, struct spool **ret, struct error *err) LH_MUST_USE;

/* Removes the folder if nothing is kept in it. NULL is fine. */
void spool_destroy(struct spool *spool);

/* Keeps the report of a run, in place of an earlier one. RC_IO with the reason: it is not kept. */
enum rc spool_put(struct spool *spool, const char *run_id, struct json_span body,
                  struct error *err) LH_MUST_USE;

/* Forgets it. A file that outlives a power loss is a report sent again, which does no harm. */
void spool_remove(struct spool *spool, const char *run_id);

/* Moves the reports of processes that have ended into this one's folder and calls `each` for every
 * one; the number taken. Files that are no reports are moved aside and logged; what cannot be read
 * now is left for the next call. */
size_t spool_adopt(struct spool *spool, spool_each *each, void *arg);

/* Reads a file's text: a call of update_status_task for one run's end. RC_INVALID_PARAMETER with
 * what is wrong, or RC_NO_MEMORY. */
enum rc spool_read(struct json_span text, struct spool_report *ret, struct error *err) LH_MUST_USE;

#endif
