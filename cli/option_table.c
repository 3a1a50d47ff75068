/* option_table.c: every option of every verb. */
#include "cli/cli.h"

#define STATUSES "ready waiting running finished failed"
#define SUB_STATUSES                                                                               \
    "held producing queued delayed retry paused claimed started cancelling error timeout limit "   \
    "crash cancelled expired dead kill_unconfirmed"

const struct option_row option_rows[OPTION_COUNT_] = {
    [OPTION_URL] = {"url", "URL",
                    "the API (else $LONGHAUL_URL, else api_url of the configuration)"},
    [OPTION_TOKEN] = {"token", "TOKEN",
                      "access token (else $AUTH_TOKEN, $LONGHAUL_TOKEN_FILE, auth_token_file)"},
    [OPTION_CONFIG] = {"config", "FILE", "the configuration (default: config.yaml if it is there)",
                       .complete = COMPLETE_FILE},
    [OPTION_PATIENCE] = {"patience", "SECONDS",
                         "how long a call is repeated while the API says that it is busy (30)"},
    [OPTION_HELP] = {"help", NULL, "print this and end"},
    [OPTION_FILE] = {"file", "FILE", "read the condition from a file, - is stdin",
                     .complete = COMPLETE_FILE},
    [OPTION_JSON] = {"json", NULL, "print JSON as the API answers it"},
    [OPTION_JSONL] = {"jsonl", NULL, "each line of the file, or of stdin, is a task"},
    [OPTION_BATCH] = {"batch", "N", "tasks that are created by one call (500)"},
    [OPTION_NO_START] = {"no-start", NULL, "store the task without queueing it"},
    [OPTION_KEY] =
        {"key", "KEY",
         "idempotency key: the same key with the same data is the same task; of lines: what "
         "their keys begin with"},
    [OPTION_PRIORITY] = {"priority", "N", "0 to 9, 9 runs first (4)"},
    [OPTION_DELAY] = {"delay", "SECONDS", "not queued before so long from now; also 15m, 2h, 7d"},
    [OPTION_RUN_AT] = {"run-at", "TIME", "not queued before this time (2026-11-21T08:30:00Z)"},
    [OPTION_TASK_TIMEOUT] = {"timeout", "SECONDS", "how long an attempt may take"},
    [OPTION_EXPIRE] = {"expire", "SECONDS", "fails if its first attempt does not begin by then"},
    [OPTION_MAX_ATTEMPTS] = {"max-attempts", "N", "attempts until it has failed (1)"},
    [OPTION_TASK_RETRY] = {"retry", "KIND[:BASE[:MAX]]",
                           "wait between attempts: exponential or fixed, in seconds"},
    [OPTION_TASK_TAG] = {"tag", "NAME=VALUE", "a tag of the task; may be repeated", .repeat = true},
    [OPTION_WAIT] = {"wait", NULL, "wait until the task has ended"},
    [OPTION_TIMEOUT] = {"timeout", "SECONDS", "wait no longer than this"},
    [OPTION_SERVICE] = {"service", "NAME", "only tasks of this service; may be repeated",
                        .repeat = true, .complete = COMPLETE_SERVICE},
    [OPTION_STATUS] = {"status", "STATUS",
                       "only ready, waiting, running, finished or failed tasks; may be repeated",
                       .repeat = true, .complete = COMPLETE_WORDS, .words = STATUSES},
    [OPTION_SUB_STATUS] = {"sub-status", "WORD", "only tasks of this sub-status; may be repeated",
                           .repeat = true, .complete = COMPLETE_WORDS, .words = SUB_STATUSES},
    [OPTION_TAG] = {"tag", "NAME=VALUE", "only tasks with this tag; may be repeated",
                    .repeat = true},
    [OPTION_FROM] = {"from", "TIME",
                     "only tasks created then or later: 2026-11-21, 2026-11-21T08:30:00Z, or 2h "
                     "(ago)"},
    [OPTION_TO] = {"to", "TIME", "only tasks created before"},
    [OPTION_PREFIX] = {"prefix", "ID", "only tasks whose id begins so"},
    [OPTION_FIELDS] = {"fields", "NAMES", "the columns: names of fields, separated by commas"},
    [OPTION_ALL] = {"all", NULL, "all tasks, not one page"},
    [OPTION_AFTER] = {"after", "CURSOR", "go on where an earlier page ended"},
    [OPTION_LINES_OF_JSON] = {"jsonl", NULL, "print a line of JSON for each task"},
    [OPTION_PAGE] = {"page", "N", "which page (1)"},
    [OPTION_SIZE] = {"size", "N", "tasks on a page (10)"},
    [OPTION_OUTPUT] = {"output", "FILE", "write there instead of to stdout",
                       .complete = COMPLETE_FILE},
    [OPTION_ENDED] = {"ended", NULL, "also tasks that have finished or failed: they run again"},
    [OPTION_REASON] = {"reason", "TEXT", "why, kept as the task's message"},
    [OPTION_GRACE] = {"grace", "SECONDS", "how long its run may take to end by itself (10)"},
    [OPTION_FORCE] = {"force", NULL, "also where processes of its last run may still live"},
    [OPTION_MAX_RUNNING] = {"max-running", "N",
                            "most tasks that run at a time; 0: no limit, default: as configured"},
    [OPTION_MAX_WAITING] = {"max-waiting", "N",
                            "most tasks that are ready or wait; 0: no limit, default: as "
                            "configured"},
};
