/* lifecycle_record.c: a run as the timeline tells of it: one JSON object. */
#include "task/record.h"

#include "base/clock.h"
#include "task/lifecycle_steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASIDE_MAX_BYTES = 8 << 20 };

static void put_time(struct buf *to, const char *name, int64_t at_ms) {
    char text[CLOCK_TEXT_CAP];
    if (!at_ms) {
        buf_printf(to, ",\"%s\":null", name);
        return;
    }
    clock_to_text(at_ms, text);
    buf_printf(to, ",\"%s\":\"%s\"", name, text);
}

static void put_text(struct buf *to, const char *name, const char *text) {
    buf_printf(to, ",\"%s\":", name);
    buf_json_str(to, text);
}

/* "TOPIC/PARTITION/OFFSET"; no topic's name has a slash. */
static void put_message(struct buf *to, const char *place) {
    const char *partition = place ? strchr(place, '/') : NULL;
    const char *offset = partition ? strchr(partition + 1, '/') : NULL;
    buf_str(to, ",\"message\":");
    if (!offset) {
        buf_str(to, "null");
        return;
    }
    buf_str(to, "{\"topic\":");
    buf_json(to, place, (size_t)(partition - place));
    buf_printf(to, ",\"partition\":%ld,\"offset\":%lld}", strtol(partition + 1, NULL, 10),
               strtoll(offset + 1, NULL, 10));
}

void record_put_next(const struct task *task, struct buf *to) {
    const struct task_queued *queued = &task->queued;
    bool comes = task->status == TASK_READY || task->status == TASK_WAITING;
    if (!comes || !queued->at) {
        buf_str(to, "null");
        return;
    }
    char text[CLOCK_TEXT_CAP];
    clock_to_text(queued->at, text);
    buf_printf(to, "{\"queued_time\":\"%s\"", text);
    put_time(to, "produced_time", queued->produced_at);
    put_message(to, queued->place);
    buf_char(to, '}');
}

void record_put(const struct task *task, struct buf *to) {
    const struct task_run *run = &task->run;
    bool failed = run->end == END_ERROR || run->end == END_TIMEOUT || run->end == END_LIMIT;
    buf_printf(to, "{\"attempt\":%lld", (long long)task->attempt);
    put_text(to, "run_id", task->run_id[0] ? task->run_id : NULL);
    put_text(to, "worker", run->worker[0] ? run->worker : NULL);
    if (run->token[0])
        put_text(to, "token", run->token);
    put_time(to, "queued_time", run->queued.at);
    put_time(to, "produced_time", run->queued.produced_at);
    put_message(to, run->queued.place);
    put_time(to, "claimed_time", run->claimed_at);
    put_time(to, "started_time", run->started_at);
    put_time(to, "first_output_time", run->output_at);
    put_time(to, "ended_time", run->ended_at);
    buf_printf(to, ",\"silent\":%s", run->silent ? "true" : "false");
    put_text(to, "end", task_end_name(run->end));
    put_text(to, "error", failed ? task->error_text : NULL);
    buf_char(to, '}');
}

/* Where the records tell of the run, or NULL. A text within a record has its quotes escaped, so it
 * cannot look like a member. */
static const char *find_run(const char *records, const char *run_id) {
    char mark[UUID_CAP + 16];
    snprintf(mark, sizeof mark, "\"run_id\":\"%s\"", run_id);
    return records ? strstr(records, mark) : NULL;
}

int64_t record_attempt(const char *records, const char *run_id) {
    static const char mark[] = "{\"attempt\":";
    const char *at = run_id[0] ? find_run(records, run_id) : NULL;
    long long attempt = 0;
    while (at && at > records && strncmp(at, mark, sizeof mark - 1) != 0)
        at--;
    return at && sscanf(at + sizeof mark - 1, "%lld", &attempt) == 1 ? attempt : 0;
}

/* Where the record of the attempt begins, or NULL. */
static const char *find_attempt(const char *records, int64_t attempt) {
    char mark[48];
    snprintf(mark, sizeof mark, "{\"attempt\":%lld,", (long long)attempt);
    return records ? strstr(records, mark) : NULL;
}

bool record_is_silent(const char *records, int64_t attempt) {
    static const char mark[] = "\"silent\":";
    const char *at = find_attempt(records, attempt);
    at = at ? strstr(at, mark) : NULL;
    return at && at[sizeof mark - 1] == 't';
}

bool record_has_token(const char *records, int64_t attempt, const char *token) {
    static const char mark[] = ",\"token\":\"", next[] = "\"queued_time\":";
    const char *from = find_attempt(records, attempt);
    const char *at = from ? strstr(from, mark) : NULL, *end = from ? strstr(from, next) : NULL;
    size_t len = strlen(token);
    if (!at || !end || at > end)
        return false;
    at += sizeof mark - 1;
    return strncmp(at, token, len) == 0 && at[len] == '"';
}

int64_t record_ended_at(const char *records, int64_t attempt) {
    static const char end_mark[] = "\"ended_time\":\"";
    char text[CLOCK_TEXT_CAP];
    int64_t ended_at = 0;
    const char *at = find_attempt(records, attempt);
    at = at ? strstr(at, end_mark) : NULL;
    if (!at)
        return 0;
    snprintf(text, sizeof text, "%.24s", at + sizeof end_mark - 1);
    return clock_from_text(text, &ended_at) ? ended_at : 0;
}

static const char *past_run(const struct turn *turn) {
    const char *run_id = turn->op->run_id;
    const char *found = run_id[0] ? find_run(turn->task->past, run_id) : NULL;
    return found || !run_id[0] ? found : find_run(turn->task->aside, run_id);
}

bool turn_is_past_run(const struct turn *turn) {
    return past_run(turn);
}

enum task_end turn_past_end(const struct turn *turn) {
    static const char mark[] = ",\"end\":";
    const char *run = past_run(turn), *at = run ? strstr(run, mark) : NULL;
    char word[32] = "";
    enum task_end end = END_NONE;
    if (at && sscanf(at + sizeof mark - 1, "\"%31[a-z_]", word) == 1)
        (void)task_end_from_name(word, &end);
    return end;
}

enum rc turn_put_aside(struct turn *turn) {
    struct task *task = turn->task;
    if (task->attempt == 0)
        return RC_OK;
    struct buf buf;
    buf_init(&buf, ASIDE_MAX_BYTES);
    if (task->aside) {
        buf_str(&buf, task->aside);
        buf_char(&buf, ',');
    }
    record_put(task, &buf);
    char *aside = buf_take(&buf, NULL);
    if (!aside)
        return RC_NO_MEMORY;
    free(task->aside);
    task->aside = aside;
    turn->parts |= PART_RUN;
    return RC_OK;
}
