/* spool.c: one file per report, in a folder per process. */
#include "consumer/report/spool.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/write_all.h"
#include "consumer/report/spool_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REPORT ".json"

enum { NAME_CAP = 128, FILE_MAX_BYTES = 64 << 20 };

struct spool {
    char *path; /* for texts */
    struct spool_folder *folder;
};

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define LH_FD __attribute__((cleanup(close_fd)))

static enum rc fail(const struct spool *spool, const char *what, struct error *err) {
    return error_set(err, RC_IO, "%s: %s: %s", spool->path, what, strerror(errno));
}

/* -- the text of a report -- */

static bool take_text(const json_t *data, const char *name, char *to, size_t cap) {
    const json_t *value = json_object_get(data, name);
    const char *text = json_string_value(value);
    return text && *text && strlen(text) == json_string_length(value) &&
           mem_copy_str(to, cap, text);
}

enum rc spool_read(struct json_span text, struct spool_report *ret, struct error *err) {
    LH_JSON root = NULL;
    struct spool_report report = {.body = text};
    enum rc rc = json_read(text, &root, err);
    if (rc != RC_OK)
        return rc;
    const json_t *data = json_object_get(root, "data");
    const char *status = json_string_value(json_object_get(data, "status"));
    if (!take_text(data, "task_id", report.task_id, sizeof report.task_id))
        return error_set(err, RC_INVALID_PARAMETER, "task_id: must be a text");
    if (!take_text(data, "run_id", report.run_id, sizeof report.run_id) ||
        !uuid_valid(report.run_id))
        return error_set(err, RC_INVALID_PARAMETER, "run_id: must be a UUID");
    report.finished = status && strcmp(status, "finished") == 0;
    if (!report.finished &&
        (!status || (strcmp(status, "failed") != 0 && strcmp(status, "waiting") != 0)))
        return error_set(err, RC_INVALID_PARAMETER, "status: must be finished, failed or waiting");
    *ret = report;
    return RC_OK;
}

/* -- writing -- */

static bool write_file(int folder, const char *name, struct json_span body) {
    LH_FD int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 && write_all(fd, body.at, body.len) && fsync(fd) == 0;
}

static bool put_file(int folder, const char *half, const char *name, struct json_span body) {
    if (write_file(folder, half, body) && renameat(folder, half, folder, name) == 0 &&
        fsync(folder) == 0)
        return true;
    int why = errno;
    unlinkat(folder, half, 0);
    errno = why;
    return false;
}

enum rc spool_put(struct spool *spool, const char *run_id, struct json_span body,
                  struct error *err) {
    char half[NAME_CAP], name[NAME_CAP];
    snprintf(half, sizeof half, "%s" SPOOL_HALF, run_id);
    snprintf(name, sizeof name, "%s" REPORT, run_id);
    for (bool again = true;; again = false) {
        int own = spool_folder_own(spool->folder);
        if (own < 0)
            return fail(spool, "no folder", err);
        if (put_file(own, half, name, body))
            return RC_OK;
        if (errno != ENOENT || !again)
            return fail(spool, name, err);
        spool_folder_lose(spool->folder);
    }
}

void spool_remove(struct spool *spool, const char *run_id) {
    char name[NAME_CAP];
    snprintf(name, sizeof name, "%s" REPORT, run_id);
    spool_folder_remove(spool->folder, name);
}

/* -- taking over -- */

struct adoption {
    struct spool *spool;
    spool_each *each;
    void *arg;
    size_t n;
};

static bool read_file(int folder, const char *name, struct buf *to) {
    LH_FD int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && buf_reserve(to, 65536)) {
        n = read(fd, to->data + to->len, 65536);
        if (n > 0)
            to->len += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    return n == 0;
}

static void set_aside(const struct spool *spool, const struct spool_orphan *orphan,
                      const char *why) {
    char aside[NAME_MAX + 1];
    spool_folder_set_aside(spool->folder, orphan, aside, sizeof aside);
    log_error(.msg = "kept report cannot be read and is set aside", .file = spool->path,
              .detail = aside, .error = why);
}

static enum rc read_report(const char *name, const struct buf *text, struct spool_report *ret,
                           struct error *err) {
    enum rc rc = spool_read((struct json_span){text->data ? text->data : "", text->len}, ret, err);
    if (rc == RC_OK && (strncmp(name, ret->run_id, strlen(ret->run_id)) != 0 ||
                        strlen(name) != strlen(ret->run_id) + strlen(REPORT)))
        rc = error_set(err, RC_INVALID_PARAMETER, "run_id: is not the file's");
    return rc;
}

/* Moved first: what is reported lies in the folder that spool_remove() looks into. */
static void adopt_file(const struct spool_orphan *orphan, void *arg) {
    struct adoption *adoption = arg;
    struct spool *spool = adoption->spool;
    LH_CLEANUP_BUF struct buf text;
    struct spool_report report;
    struct error err;
    buf_init(&text, FILE_MAX_BYTES);
    if (!read_file(orphan->from, orphan->name, &text)) {
        log_error(.msg = "kept report cannot be read now", .file = spool->path,
                  .detail = orphan->name, .error = strerror(errno));
        return;
    }
    enum rc rc = read_report(orphan->name, &text, &report, &err);
    if (rc == RC_INVALID_PARAMETER)
        set_aside(spool, orphan, err.text);
    else if (rc == RC_OK &&
             spool_folder_move(spool->folder, orphan->from, orphan->name, orphan->name) &&
             adoption->each(&report, adoption->arg))
        adoption->n++;
}

size_t spool_adopt(struct spool *spool, spool_each *each, void *arg) {
    struct adoption adoption = {spool, each, arg, 0};
    spool_folder_adopt(spool->folder, adopt_file, &adoption);
    return adoption.n;
}

/* -- birth and death -- */

enum rc spool_create(const char *path, struct spool **ret, struct error *err) {
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool)
        spool->path = strdup(path);
    if (!spool || !spool->path) {
        spool_destroy(spool);
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    }
    enum rc rc = spool_folder_create(path, "consumer", REPORT, &spool->folder, err);
    if (rc != RC_OK) {
        spool_destroy(spool);
        return rc;
    }
    *ret = spool;
    return RC_OK;
}

void spool_destroy(struct spool *spool) {
    if (!spool)
        return;
    spool_folder_destroy(spool->folder);
    free(spool->path);
    free(spool);
}
