/* cli.h: what the verbs of the command line share. */
#ifndef LH_CLI_CLI_H
#define LH_CLI_CLI_H

#include "cli/client.h"

enum cli_option {
    OPTION_URL,
    OPTION_TOKEN,
    OPTION_CONFIG,
    OPTION_HELP,
    OPTION_FILE,
    OPTION_NO_START,
    OPTION_JSON,
    OPTION_WAIT,
    OPTION_TIMEOUT,
    OPTION_SERVICE,
    OPTION_STATUS,
    OPTION_PAGE,
    OPTION_SIZE,
    OPTION_COUNT_
};

/* A call of a verb: what was given, and the API. */
struct cli {
    const char *value[OPTION_COUNT_]; /* NULL: not given; "": a flag that was */
    char *const *args;                /* after the verb, NULL-terminated */
    int n_args;
    struct client *client;
};

struct cli_verb {
    const char *name;
    const char *arguments;  /* "SERVICE [CONDITION]" */
    const char *summary;    /* a line of the list of verbs */
    const char *help;       /* sentences and examples, with newlines */
    unsigned options;       /* a bit for each that it takes besides the common ones */
    int min_args, max_args; /* max_args < 0: any number */
    enum rc (*run)(const struct cli *cli, struct error *err);
};

/* The verbs; each prints its answer on stdout. */
enum rc verb_create(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_status(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_result(const struct cli *cli, struct error *err) LH_MUST_USE;
enum rc verb_list(const struct cli *cli, struct error *err) LH_MUST_USE;

/* A limit for bodies that are built here. */
enum { CLI_BODY_MAX_BYTES = 128 << 20 };

/* Reads a whole number of at least `min` from an option; RC_USAGE names the option. */
enum rc cli_integer(const struct cli *cli, enum cli_option option, int64_t min, int64_t *ret,
                    struct error *err) LH_MUST_USE;

/* Seconds, possibly with decimals, as milliseconds. */
enum rc cli_seconds(const struct cli *cli, enum cli_option option, int64_t *ret_ms,
                    struct error *err) LH_MUST_USE;

/* Prints JSON text and a newline. */
void cli_print_json(struct json_span json);

#endif
