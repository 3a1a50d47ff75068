/* cli.h: what the verbs of the command line share. */
#ifndef LH_CLI_CLI_H
#define LH_CLI_CLI_H

#include "cli/client.h"

enum cli_option {
    OPTION_URL,
    OPTION_TOKEN,
    OPTION_CONFIG,
    OPTION_PATIENCE,
    OPTION_HELP,
    OPTION_FILE,
    OPTION_JSON,
    OPTION_JSONL,
    OPTION_BATCH,
    OPTION_NO_START,
    OPTION_KEY,
    OPTION_PRIORITY,
    OPTION_DELAY,
    OPTION_RUN_AT,
    OPTION_TASK_TIMEOUT,
    OPTION_EXPIRE,
    OPTION_MAX_ATTEMPTS,
    OPTION_TASK_RETRY,
    OPTION_TASK_TAG,
    OPTION_WAIT,
    OPTION_TIMEOUT,
    OPTION_SERVICE,
    OPTION_STATUS,
    OPTION_SUB_STATUS,
    OPTION_TAG,
    OPTION_FROM,
    OPTION_TO,
    OPTION_PREFIX,
    OPTION_FIELDS,
    OPTION_ALL,
    OPTION_AFTER,
    OPTION_LINES_OF_JSON,
    OPTION_PAGE,
    OPTION_SIZE,
    OPTION_OUTPUT,
    OPTION_ENDED,
    OPTION_FOLLOW,
    OPTION_STREAM,
    OPTION_ATTEMPT,
    OPTION_LINES,
    OPTION_RAW,
    OPTION_ONCE,
    OPTION_INTERVAL,
    OPTION_REASON,
    OPTION_GRACE,
    OPTION_FORCE,
    OPTION_MAX_RUNNING,
    OPTION_MAX_WAITING,
    OPTION_COUNT_
};

/* What the shell may offer in a place. */
enum complete {
    COMPLETE_NONE,
    COMPLETE_FILE,
    COMPLETE_SERVICE,
    COMPLETE_TASK,
    COMPLETE_VERB,
    COMPLETE_WORDS
};

struct option_row {
    const char *name, *argument; /* "size", "N"; argument NULL: a flag */
    const char *help;            /* what follows "--size N" in a list, without a full stop */
    char letter;                 /* "-f"; 0: none */
    bool repeat;                 /* may be given more than once, each counts */
    enum complete complete;      /* the argument's */
    const char *words;           /* COMPLETE_WORDS: "a b c" */
};

extern const struct option_row option_rows[OPTION_COUNT_];

#define OPTION_BIT(option) (UINT64_C(1) << (option))

/* Options that every verb takes, and those that only say where the API is. */
#define OPTIONS_COMMON                                                                             \
    (OPTION_BIT(OPTION_URL) | OPTION_BIT(OPTION_TOKEN) | OPTION_BIT(OPTION_CONFIG) |               \
     OPTION_BIT(OPTION_PATIENCE) | OPTION_BIT(OPTION_HELP))

/* A call of a verb: what was given, and the API. */
struct cli {
    const char *value[OPTION_COUNT_]; /* the last one; NULL: not given; "": a flag that was */
    struct cli_given {
        enum cli_option option;
        const char *value;
    } * given; /* all of them, as they came */
    size_t n_given;
    char *const *args; /* after the verb, NULL-terminated */
    int n_args;
    struct client *client; /* NULL: the verb needs no API */
};

struct cli_verb {
    const char *name;
    const char *arguments;  /* "SERVICE [CONDITION]" */
    const char *summary;    /* a line of the list of verbs */
    const char *help;       /* sentences, and examples indented by two blanks */
    uint64_t options;       /* a bit for each that it takes besides the common ones */
    int min_args, max_args; /* max_args < 0: any number */
    enum rc (*run)(const struct cli *cli, struct error *err);
    enum complete complete; /* its arguments' */
    const char *words;      /* COMPLETE_WORDS: "a b c" */
    bool offline;           /* is run without cli->client, and takes only `options` and --help */
};

extern const struct cli_verb cli_verbs[];
extern const size_t n_cli_verbs;

/* The verb of that name, or NULL. */
const struct cli_verb *cli_verb_find(const char *name);

/* All options that it takes, a bit for each. */
uint64_t cli_verb_options(const struct cli_verb *verb);

/* RC_USAGE with the verb that was meant, if one is near. */
enum rc cli_verb_unknown(const char *name, struct error *err);

/* The verbs; each prints its answer on stdout. */
enum rc verb_create(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_status(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_result(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_list(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_cancel(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_start(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_edit(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_delete(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_tail(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_export(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_import(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_timeline(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_services(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_consumers(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_pause(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_resume(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_limit(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_top(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_doctor(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_completion(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_manual(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_help(const struct cli *cli, struct error *err) LH_MUST_USE;

/* A limit for bodies that are built here. */
enum { CLI_BODY_MAX_BYTES = 128 << 20 };

/* A line for people on stderr without control characters, whatever the text holds. */
void cli_say(const char *text, enum rc rc);

/* Prints JSON text and a newline. */
void cli_print_json(struct json_span json);

#endif
