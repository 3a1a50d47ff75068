/* audit.c: a line for every change that somebody asks for. */
#include "api/call/audit.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { GATHERED_MAX_BYTES = 65536 };

/* The lines of one turn of the loop are written together, at its end: before it sends the answers.
 */
struct audit {
    const char *path; /* NULL: the log */
    int fd;
    struct buf lines;
    struct event *flush;
    bool failed; /* as the log has it */
};

static void write_lines(struct audit *audit) {
    bool failed = !log_write(audit->fd, audit->lines.data, audit->lines.len);
    if (failed && !audit->failed)
        log_error(.msg = "audit lines are lost", .file = audit->path, .error = strerror(errno));
    audit->failed = failed;
    buf_clear(&audit->lines);
}

static void on_flush(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    write_lines(arg);
}

static int open_file(const char *path) {
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

enum rc audit_create(const struct config *cfg, struct event_base *base, struct audit **ret,
                     struct error *err) {
    const char *path = cfg->audit_file;
    if (!cfg->audit || (!path && !log_enabled(LOG_INFO)))
        return RC_OK;
    struct audit *audit = calloc(1, sizeof *audit);
    if (!audit)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *audit = (struct audit){.path = path,
                            .fd = path ? open_file(path) : STDERR_FILENO,
                            .flush = event_new(base, -1, 0, on_flush, audit)};
    buf_init(&audit->lines, GATHERED_MAX_BYTES + LOG_LINE_MAX_BYTES);
    if (audit->fd >= 0 && audit->flush) {
        *ret = audit;
        return RC_OK;
    }
    enum rc rc = audit->fd < 0 ? error_set(err, RC_IO, "audit_file: %s: %s", path, strerror(errno))
                               : error_set(err, RC_NO_MEMORY, "out of memory");
    audit_destroy(audit);
    return rc;
}

enum rc audit_reopen(struct audit *audit, struct error *err) {
    if (!audit || !audit->path)
        return RC_OK;
    int fd = open_file(audit->path);
    if (fd < 0)
        return error_set(err, RC_IO, "audit_file: %s: %s", audit->path, strerror(errno));
    write_lines(audit);
    close(audit->fd);
    audit->fd = fd;
    return RC_OK;
}

void audit_destroy(struct audit *audit) {
    if (!audit)
        return;
    if (audit->fd >= 0)
        write_lines(audit);
    if (audit->path && audit->fd >= 0)
        close(audit->fd);
    if (audit->flush)
        event_free(audit->flush);
    buf_finish(&audit->lines);
    free(audit);
}

static void put_line(struct audit *audit, struct log_line *line) {
    bool first = audit->lines.len == 0;
    line->level = LOG_INFO;
    line->msg = "audit";
    log_put(line, &audit->lines);
    if (audit->lines.rc != RC_OK || audit->lines.len > GATHERED_MAX_BYTES)
        write_lines(audit);
    else if (first)
        event_active(audit->flush, EV_TIMEOUT, 0);
}

/* Of several tasks: how many were stored. One that stood already is none of them. */
static void count_tasks(const struct call *call, const struct op *op, struct log_line *line) {
    size_t stored = 0;
    for (size_t i = 0; i < op->n_tasks; i++)
        stored += op->task_rc[i] == RC_OK && !op->tasks[i].duplicate;
    line->count = (int64_t)stored;
    line->refused = (int64_t)(call->n_refused + op->n_tasks - stored);
    line->service = op->tasks[0].service;
}

static void describe_create(const struct call *call, const struct op *op, struct log_line *line) {
    if (op->n_tasks + call->n_refused > 1) {
        count_tasks(call, op, line);
        return;
    }
    const struct task *task = &op->tasks[0];
    line->service = task->service;
    line->task_id = task->task_id;
    line->detail = task->duplicate ? "duplicate" : NULL;
    if (op->rc == RC_OK)
        line->code = rc_info(op->task_rc[0])->word;
}

void audit_op(const struct call *call, const struct op *op) {
    static const bool changes[OP_KINDS] = {
        [OP_CREATE] = true, [OP_START] = true,  [OP_CANCEL] = true,
        [OP_EDIT] = true,   [OP_REMOVE] = true, [OP_SERVICE] = true};
    struct audit *audit = call->api->audit;
    char peer[HTTP_PEER_CAP];
    if (!audit || !changes[op->kind] || (op->kind == OP_CREATE && op->n_tasks == 0))
        return;
    struct log_line line = {.token = call->token->name,
                            .path = http_req_path(call->req),
                            .code = rc_info(op->rc)->word,
                            .traceparent =
                                op->n_tasks == 1 ? op->tasks[0].traceparent : call->traceparent,
                            .request_id = http_req_id(call->req),
                            .address = http_req_peer(call->req, peer)};
    if (op->kind == OP_CREATE)
        describe_create(call, op, &line);
    else if (op->kind == OP_SERVICE)
        line.service = op->service.name;
    else
        line.task_id = op->task_id;
    put_line(audit, &line);
}

static void put_forbidden(const struct api *api, const struct http_req *req,
                          const struct token *token, const char *task_id, const char *text) {
    char peer[HTTP_PEER_CAP];
    if (!api->audit)
        return;
    struct log_line line = {.token = token->name,
                            .task_id = task_id,
                            .path = http_req_path(req),
                            .code = rc_info(RC_FORBIDDEN)->word,
                            .error = text,
                            .request_id = http_req_id(req),
                            .address = http_req_peer(req, peer)};
    put_line(api->audit, &line);
}

void audit_forbidden(const struct api *api, const struct http_req *req, const struct token *token,
                     const char *text) {
    put_forbidden(api, req, token, NULL, text);
}

void audit_call_forbidden(struct call *call, const char *task_id, const char *text) {
    if (!call->forbidden)
        put_forbidden(call->api, call->req, call->token, task_id, text);
    call->forbidden = true;
}
