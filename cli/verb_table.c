/* verb_table.c: every verb. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/filter.h"
#include "config/near.h"

#include <string.h>

#define BIT OPTION_BIT

#define TASK_OPTIONS                                                                               \
    (BIT(OPTION_NO_START) | BIT(OPTION_KEY) | BIT(OPTION_PRIORITY) | BIT(OPTION_DELAY) |           \
     BIT(OPTION_RUN_AT) | BIT(OPTION_TASK_TIMEOUT) | BIT(OPTION_EXPIRE) |                          \
     BIT(OPTION_MAX_ATTEMPTS) | BIT(OPTION_TASK_RETRY) | BIT(OPTION_TASK_TAG))

const struct cli_verb cli_verbs[] = {
    {"create", "SERVICE [CONDITION | -]", "create a task and print its id",
     "CONDITION is any JSON value; - reads it from stdin; without it, it is {}.\n\n"
     "With --jsonl each line of --file, or of stdin, is a task: a condition of SERVICE, or without "
     "SERVICE\n"
     "an object of create_task's fields (service, condition, priority, tags, …), which the options "
     "add to.\n"
     "Lines that are refused are named on stderr and stop nothing. After an error the same lines "
     "with the\n"
     "--key that it names create the rest and nothing twice.\n\n"
     "  longhaul create word_count '{\"text\": \"to be or not to be\"}'\n"
     "  longhaul create checksum --file condition.json --delay 2h --tag team=blue\n"
     "  longhaul create primes --jsonl --file conditions.jsonl --key 'monday' --priority 2\n"
     "  longhaul result --wait \"$(longhaul create primes '{\"below\": 1000}')\"\n",
     BIT(OPTION_FILE) | BIT(OPTION_JSONL) | BIT(OPTION_BATCH) | BIT(OPTION_JSON) | TASK_OPTIONS, 0,
     2, verb_create, COMPLETE_SERVICE},
    {"status", "ID...", "print the status of tasks",
     "Ends with 66 where an id is unknown (its status is Invalid). --json prints a line for "
     "each.\n\n"
     "  longhaul status ts_word_count_0193…\n",
     BIT(OPTION_JSON), 1, -1, verb_status, COMPLETE_TASK},
    {"result", "ID", "print the result of a task",
     "Ends with 75 while the task has not ended, with 65 where it failed.\n\n"
     "  longhaul result --wait --timeout 60 ts_word_count_0193…\n",
     BIT(OPTION_WAIT) | BIT(OPTION_TIMEOUT) | BIT(OPTION_JSON), 1, 1, verb_result, COMPLETE_TASK},
    {"list", "", "list tasks, the newest first",
     "A page of them, or all with --all; the cursor to go on with stands on stderr. --json prints "
     "each\n"
     "page as the API answers it, --jsonl a line for each task.\n\n"
     "  longhaul list --service word_count --status failed --from 2h --size 100\n"
     "  longhaul list --all --fields task_id,sub_status,error\n"
     "  longhaul list --json | jq -r '.data[].task_id'\n",
     FILTER_OPTIONS | BIT(OPTION_FIELDS) | BIT(OPTION_PAGE) | BIT(OPTION_SIZE) | BIT(OPTION_ALL) |
         BIT(OPTION_AFTER) | BIT(OPTION_JSON) | BIT(OPTION_LINES_OF_JSON),
     0, 0, verb_list},
    {"tail", "ID", "print what a task's runs print, as it comes",
     "stdout goes to stdout, stderr to stderr. With -f it waits for the task to begin and ends "
     "with "
     "it, over\n"
     "all attempts; a connection that breaks is made again, and nothing is lost or doubled.\n\n"
     "  longhaul tail -f ts_word_count_0193…\n"
     "  longhaul tail --stream stderr -n 20 ts_word_count_0193…\n",
     BIT(OPTION_FOLLOW) | BIT(OPTION_STREAM) | BIT(OPTION_ATTEMPT) | BIT(OPTION_LINES) |
         BIT(OPTION_RAW),
     1, 1, verb_tail, COMPLETE_TASK},
    {"timeline", "ID", "print every run of a task: when, where, how it ended",
     "  longhaul timeline ts_word_count_0193…\n", BIT(OPTION_JSON), 1, 1, verb_timeline,
     COMPLETE_TASK},
    {"cancel", "ID...", "stop tasks, wherever they are",
     "Prints each id with its status now: failed, or running until its run has proven that it is "
     "over.\n\n"
     "  longhaul cancel --reason 'wrong input' ts_word_count_0193…\n",
     BIT(OPTION_REASON) | BIT(OPTION_GRACE) | BIT(OPTION_JSON), 1, -1, verb_cancel, COMPLETE_TASK},
    {"start", "ID...", "queue tasks that are held, or run them again",
     "A task that is ready is queued, one that is delayed or waits for a retry is due now, one "
     "that has\n"
     "ended runs again.\n\n"
     "  longhaul start ts_word_count_0193…\n",
     BIT(OPTION_FORCE) | BIT(OPTION_JSON), 1, -1, verb_start, COMPLETE_TASK},
    {"edit", "ID [CONDITION | -]", "change the condition of a task that is not running",
     "On a terminal, without a condition, it opens the one that stands in $VISUAL or $EDITOR.\n\n"
     "  longhaul edit ts_word_count_0193… '{\"text\": \"better\"}'\n",
     BIT(OPTION_FILE) | BIT(OPTION_JSON), 1, 2, verb_edit, COMPLETE_TASK},
    {"delete", "ID...", "remove tasks that have ended",
     "Condition, result, runs and logs are gone then; the id stays known as removed.\n\n"
     "  longhaul delete ts_word_count_0193…\n",
     BIT(OPTION_JSON), 1, -1, verb_delete, COMPLETE_TASK},
    {"services", "", "print what each service has and may", "  longhaul services\n",
     BIT(OPTION_JSON), 0, 0, verb_services},
    {"consumers", "", "print the consumers that have been heard of in the last minute",
     "  longhaul consumers\n", BIT(OPTION_JSON), 0, 0, verb_consumers},
    {"export", "", "write tasks with their fields as lines of JSON",
     "Walks through all tasks that the filters let pass, the newest first, by cursor. The lines "
     "are what\n"
     "'import' reads.\n\n"
     "  longhaul export --status waiting --output waiting.jsonl\n",
     FILTER_OPTIONS | BIT(OPTION_OUTPUT), 0, 0, verb_export},
    {"import", "[FILE]", "create tasks from lines that 'export' wrote",
     "The tasks are new ones with the service, condition and settings of the old. Each keeps its "
     "idempotency\n"
     "key or gets one made of its old id, so that an import that is repeated creates nothing "
     "twice. Tasks that\n"
     "were held stay held. Those that have ended are passed over unless --ended is given.\n\n"
     "  longhaul import waiting.jsonl --url http://other:8080\n",
     BIT(OPTION_ENDED) | BIT(OPTION_BATCH) | BIT(OPTION_JSON), 0, 1, verb_import, COMPLETE_FILE},
    {"pause", "SERVICE...", "let no task of services begin to run",
     "What runs goes on. It lasts until 'resume', over restarts too.\n\n"
     "  longhaul pause word_count\n",
     BIT(OPTION_JSON), 1, -1, verb_pause, COMPLETE_SERVICE},
    {"resume", "SERVICE...", "undo 'pause'", "  longhaul resume word_count\n", BIT(OPTION_JSON), 1,
     -1, verb_resume, COMPLETE_SERVICE},
    {"limit", "SERVICE...", "limit how many tasks of services run and wait",
     "What is not named stays as it is.\n\n"
     "  longhaul limit word_count --max-running 10 --max-waiting default\n",
     BIT(OPTION_MAX_RUNNING) | BIT(OPTION_MAX_WAITING) | BIT(OPTION_JSON), 1, -1, verb_limit,
     COMPLETE_SERVICE},
    {"top", "", "watch services and running tasks live",
     "Rates are of the time since the last look; red is what wants attention: paused, failing, or "
     "waiting\n"
     "without a consumer. q quits, the space bar looks at once. --once is for pipes.\n\n"
     "  longhaul top\n"
     "  longhaul top --once | cut -f1,3\n",
     BIT(OPTION_ONCE) | BIT(OPTION_INTERVAL), 0, 0, verb_top},
    {"doctor", "", "check that everything is as it should be, and say what to do",
     "Looks at the configuration, the token, the API, its store and broker, topics, consumer "
     "groups, clocks,\n"
     "consumers, modules and folders. Each line begins with ok, warn or FAIL. Ends with 1 where "
     "something\n"
     "warns, else with what the first failure ends a program with.\n\n"
     "  longhaul doctor --config config.yaml\n",
     BIT(OPTION_JSON) | BIT(OPTION_URL) | BIT(OPTION_TOKEN) | BIT(OPTION_CONFIG), 0, 0, verb_doctor,
     .offline = true},
    {"completion", "bash | zsh", "print what a shell needs to complete longhaul's command line",
     "  source <(longhaul completion bash)\n"
     "  longhaul completion zsh > ~/.zsh/functions/_longhaul\n",
     0, 1, 1, verb_completion, COMPLETE_WORDS, .words = "bash zsh", .offline = true},
    {"manual", "", "print the manual page", "  longhaul manual | man -l -\n", 0, 0, 0, verb_manual,
     .offline = true},
    {"help", "[VERB]", "print what a verb does", "  longhaul help create\n", 0, 0, 1, verb_help,
     COMPLETE_VERB, .offline = true},
};
const size_t n_cli_verbs = LH_COUNT(cli_verbs);

const struct cli_verb *cli_verb_find(const char *name) {
    for (size_t i = 0; i < n_cli_verbs; i++)
        if (strcmp(cli_verbs[i].name, name) == 0)
            return &cli_verbs[i];
    return NULL;
}

uint64_t cli_verb_options(const struct cli_verb *verb) {
    return verb->options | (verb->offline ? OPTION_BIT(OPTION_HELP) : OPTIONS_COMMON);
}

enum rc cli_verb_unknown(const char *name, struct error *err) {
    char hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, name);
    for (size_t i = 0; i < n_cli_verbs; i++)
        near_offer(&near, cli_verbs[i].name, strlen(cli_verbs[i].name));
    return error_set(err, RC_USAGE, "unknown verb '%s'%s", name, near_hint(&near, hint));
}
