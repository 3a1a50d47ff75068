/* log_file.c: one stream's bytes on disk. */
#include "consumer/report/log_file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ring is larger than what is kept in it by one step of writing: a process that is killed
 * between a step and the note of its end has overwritten nothing that counts. */
enum { BOOT_CAP = 40, STEP_BYTES = 65536 };

static const char magic[8] = "lh-log1";

/* The head as it stands in the file, for processes on the same host. `end` counts once the file has
 * wrapped; until then its size tells the end. */
struct head {
    char magic[8];
    int64_t base, end, cap;
    uint8_t stream, closed;
    char boot[BOOT_CAP]; /* bytes may not be on disk after another boot than this; "": they are */
    char run_id[UUID_CAP];
    char task_id[TASK_TEXT_CAP];
};
_Static_assert(sizeof(struct head) <= LOG_FILE_HEADER, "the head has its place");

static void read_boot(char ret[BOOT_CAP]) {
    memset(ret, 0, BOOT_CAP);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, ret, BOOT_CAP - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        memcpy(ret, "unknown", sizeof "unknown");
}

static const char *boot_id(void) {
    static char boot[BOOT_CAP];
    if (!*boot)
        read_boot(boot);
    return boot;
}

static enum rc fail(const char *what, struct error *err) {
    return error_set(err, RC_IO, "%s: %s", what, strerror(errno));
}

static bool write_at(int fd, const void *bytes, size_t len, int64_t at) {
    const char *from = bytes;
    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool write_head(const struct log_file *file, const char *boot) {
    struct head head = {.base = file->base,
                        .end = file->end,
                        .cap = file->cap,
                        .stream = (uint8_t)file->stream,
                        .closed = file->closed};
    memcpy(head.magic, magic, sizeof magic);
    return mem_copy_str(head.boot, sizeof head.boot, boot) &&
           mem_copy_str(head.run_id, sizeof head.run_id, file->run_id) &&
           mem_copy_str(head.task_id, sizeof head.task_id, file->task_id) &&
           write_at(file->fd, &head, sizeof head, 0);
}

/* ---- where bytes stand ---- */

static int64_t half(const struct log_file *file) {
    return file->cap / 2;
}

static int64_t ring(const struct log_file *file) {
    return half(file) + STEP_BYTES;
}

/* Where the byte at an offset stands in the file; *ret_run: as many stand behind one another. */
static int64_t place_of(const struct log_file *file, int64_t offset, int64_t *ret_run) {
    int64_t at = offset - file->base;
    if (at < half(file)) {
        *ret_run = half(file) - at;
        return LOG_FILE_HEADER + at;
    }
    int64_t in_ring = (at - half(file)) % ring(file);
    *ret_run = ring(file) - in_ring;
    return LOG_FILE_HEADER + half(file) + in_ring;
}

static bool is_cut(const struct log_file *file) {
    return file->end - file->base > 2 * half(file);
}

static bool has_wrapped(const struct log_file *file) {
    return file->end - file->base > half(file) + ring(file);
}

/* ---- birth ---- */

enum rc log_file_begin(struct log_file *file, int fd, struct error *err) {
    file->fd = fd;
    file->base = file->end = 0;
    file->closed = false;
    if (write_head(file, boot_id()) && ftruncate(fd, LOG_FILE_HEADER) == 0)
        return RC_OK;
    enum rc rc = fail("cannot write", err);
    log_file_finish(file);
    return rc;
}

static bool is_text(const char *text, size_t cap) {
    return memchr(text, '\0', cap) != NULL;
}

static const char *fault_of(const struct head *head, int64_t size) {
    if (memcmp(head->magic, magic, sizeof magic) != 0 || size < LOG_FILE_HEADER)
        return "it is no log";
    if (!is_text(head->boot, sizeof head->boot) || !is_text(head->run_id, sizeof head->run_id) ||
        !is_text(head->task_id, sizeof head->task_id) || !head->task_id[0] ||
        !uuid_valid(head->run_id) || head->stream >= RUN_STREAMS)
        return "its head is broken";
    if (head->cap < 2 || head->cap > INT64_C(1) << 40 || head->base < 0 || head->end < head->base ||
        head->end > INT64_C(1) << 60 || size - LOG_FILE_HEADER > head->cap + STEP_BYTES)
        return "its numbers are broken";
    if (*head->boot && strcmp(head->boot, boot_id()) != 0)
        return "the host was restarted since";
    return NULL;
}

static enum rc read_head(int fd, struct head *ret, int64_t *ret_size, struct error *err) {
    struct stat st;
    ssize_t n = pread(fd, ret, sizeof *ret, 0);
    if (n < 0 || fstat(fd, &st) != 0)
        return fail("cannot read", err);
    if (n < (ssize_t)sizeof *ret)
        return error_set(err, RC_INVALID_PARAMETER, "it is no log");
    *ret_size = st.st_size;
    return RC_OK;
}

enum rc log_file_open(int fd, struct log_file *ret, struct error *err) {
    struct head head;
    int64_t size = 0;
    enum rc rc = read_head(fd, &head, &size, err);
    const char *fault = rc == RC_OK ? fault_of(&head, size) : NULL;
    if (fault)
        rc = error_set(err, RC_INVALID_PARAMETER, "%s", fault);
    if (rc != RC_OK) {
        close(fd);
        return rc;
    }
    int64_t by_size = head.base + size - LOG_FILE_HEADER;
    struct log_file file = {.fd = fd,
                            .stream = (enum run_stream)head.stream,
                            .base = head.base,
                            .end = head.end > by_size ? head.end : by_size,
                            .cap = head.cap,
                            .closed = head.closed};
    (void)mem_copy_str(file.task_id, sizeof file.task_id, head.task_id);
    (void)mem_copy_str(file.run_id, sizeof file.run_id, head.run_id);
    *ret = file;
    return RC_OK;
}

/* ---- bytes ---- */

static bool write_bytes(struct log_file *file, const char *bytes, size_t len) {
    int64_t offset = file->end;
    while (len > 0) {
        int64_t run, at = place_of(file, offset, &run);
        size_t part = (int64_t)len < run ? len : (size_t)run;
        if (!write_at(file->fd, bytes, part, at))
            return false;
        offset += (int64_t)part;
        bytes += part;
        len -= part;
    }
    return true;
}

static bool write_step(struct log_file *file, const char *bytes, size_t len) {
    if (!write_bytes(file, bytes, len))
        return false;
    file->end += (int64_t)len;
    if (!has_wrapped(file) ||
        write_at(file->fd, &file->end, sizeof file->end, offsetof(struct head, end)))
        return true;
    file->end -= (int64_t)len;
    return false;
}

enum rc log_file_write(struct log_file *file, const char *bytes, size_t len, struct error *err) {
    while (len > 0) {
        size_t part = len < STEP_BYTES ? len : STEP_BYTES;
        if (!write_step(file, bytes, part))
            return fail("cannot write", err);
        bytes += part;
        len -= part;
    }
    return RC_OK;
}

static bool read_bytes(const struct log_file *file, int64_t offset, char *to, size_t len) {
    while (len > 0) {
        int64_t run, at = place_of(file, offset, &run);
        ssize_t n = pread(file->fd, to, (int64_t)len < run ? len : (size_t)run, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* somebody has cut the file */
        if (n <= 0)
            return false;
        offset += n;
        to += n;
        len -= (size_t)n;
    }
    return true;
}

enum rc log_file_read(const struct log_file *file, int64_t from, char *to, size_t max,
                      struct log_piece *ret, struct error *err) {
    int64_t head = file->base + half(file), tail = file->end - half(file);
    int64_t at = from > file->base ? from : file->base, end = file->end;
    if (is_cut(file) && at >= head && at < tail)
        at = tail;
    if (is_cut(file) && at < head)
        end = head;
    if (at > end)
        at = end;
    size_t len = end - at < (int64_t)max ? (size_t)(end - at) : max;
    if (!read_bytes(file, at, to, len))
        return fail("cannot read", err);
    *ret = (struct log_piece){.at = at, .skipped = at > from ? at - from : 0, .len = len};
    return RC_OK;
}

/* The file is made small first: should this process end in between, the file's end is one that is
 * shipped already. */
void log_file_forget(struct log_file *file) {
    if (file->end == file->base || ftruncate(file->fd, LOG_FILE_HEADER) != 0)
        return;
    file->base = file->end;
    (void)write_head(file, boot_id());
}

void log_file_close_stream(struct log_file *file) {
    file->closed = true;
    (void)write_head(file, boot_id());
}

void log_file_sync(struct log_file *file) {
    if (fsync(file->fd) == 0 && write_head(file, ""))
        (void)fsync(file->fd);
}

void log_file_finish(struct log_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}
