/* spool_folder.h: a folder of a process's own, whose files another process takes over when this one
 * has ended.
 *
 *     <path>/<prefix>-<process>/lock      flock()ed by its process as long as it lives
 *     <path>/<prefix>-<process>/<name>    what is kept: names that end as the folder's files do
 *
 * It is made when there is something to keep, so any number of processes may share the path. A
 * folder whose lock is free belongs to nobody alive. Loop thread only.
 */
#ifndef LH_CONSUMER_SPOOL_FOLDER_H
#define LH_CONSUMER_SPOOL_FOLDER_H

#include "base/rc.h"

/* How names of files end that are not whole yet. */
#define SPOOL_HALF ".half"

struct spool_folder;

/* Touches no disk yet; `file_end` (".json") tells what is kept from what is half written.
 * RC_NO_MEMORY. */
enum rc spool_folder_create(const char *path, const char *prefix, const char *file_end,
                            struct spool_folder **ret, struct error *err) LH_MUST_USE;

/* Removes the folder if nothing is kept in it. NULL is fine. */
void spool_folder_destroy(struct spool_folder *folder);

/* The descriptor of the folder, made now if need be; borrowed. -1 with errno. */
int spool_folder_own(struct spool_folder *folder);

/* Somebody has removed it: the next call makes another. */
void spool_folder_lose(struct spool_folder *folder);

/* A new file for reading and writing; the caller's. -1 with the reason. */
int spool_folder_open(struct spool_folder *folder, const char *name, struct error *err);

/* An existing file, for reading and writing; the caller's. -1 with the reason. */
int spool_folder_reopen(struct spool_folder *folder, const char *name, struct error *err);

void spool_folder_remove(struct spool_folder *folder, const char *name);

/* Moves a file of another folder into this one. */
bool spool_folder_move(struct spool_folder *folder, int from, const char *name,
                       const char *new_name) LH_MUST_USE;

/* A file that a process has left: in the folder `from`, whose name is `from_name`. It stays there
 * for a later look unless `each` moves or removes it. */
struct spool_orphan {
    int from;
    const char *from_name;
    const char *name;
};
typedef void spool_folder_each(const struct spool_orphan *orphan, void *arg);

/* Calls `each` for every file of processes that have ended. */
void spool_folder_adopt(struct spool_folder *folder, spool_folder_each *each, void *arg);

/* Moves a file that is of no use beside the folders, as <from_name>-<name>.bad; where that fails it
 * is removed. `aside` gets its new name. */
void spool_folder_set_aside(struct spool_folder *folder, const struct spool_orphan *orphan,
                            char *aside, size_t cap);

#endif
