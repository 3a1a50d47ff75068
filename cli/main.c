/* main.c: longhaul VERB: finds the verb, its options and the API, and says how it ended. */
#include "cli/cli.h"

#include "base/mem.h"
#include "config/config.h"
#include "config/near.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *argument, *help;
} options[OPTION_COUNT_] = {
    [OPTION_URL] = {"url", "URL",
                    "the API (else $LONGHAUL_URL, else api_url of the configuration)"},
    [OPTION_TOKEN] = {"token", "TOKEN", "access token (else $AUTH_TOKEN, else auth_token_file)"},
    [OPTION_CONFIG] = {"config", "FILE", "the configuration (default: config.yaml if it is there)"},
    [OPTION_HELP] = {"help", NULL, "print this and end"},
    [OPTION_FILE] = {"file", "FILE", "read the condition from a file, - is stdin"},
    [OPTION_NO_START] = {"no-start", NULL, "store the task without queueing it"},
    [OPTION_JSON] = {"json", NULL, "print JSON as the API answers it"},
    [OPTION_WAIT] = {"wait", NULL, "wait until the task has ended"},
    [OPTION_TIMEOUT] = {"timeout", "SECONDS", "wait no longer than this"},
    [OPTION_SERVICE] = {"service", "NAME", "only tasks of this service"},
    [OPTION_STATUS] = {"status", "STATUS",
                       "only ready, waiting, running, finished or failed tasks"},
    [OPTION_PAGE] = {"page", "N", "which page (1)"},
    [OPTION_SIZE] = {"size", "N", "tasks on a page (10)"},
};

#define BIT(option) (1u << (option))
enum { COMMON = BIT(OPTION_URL) | BIT(OPTION_TOKEN) | BIT(OPTION_CONFIG) | BIT(OPTION_HELP) };

static const struct cli_verb verbs[] = {
    {"create", "SERVICE [CONDITION | -]", "create a task and print its id",
     "CONDITION is any JSON value; - reads it from stdin; without it, it is {}.\n\n"
     "  longhaul create word_count '{\"text\": \"to be or not to be\"}'\n"
     "  longhaul create checksum --file condition.json --no-start\n"
     "  longhaul result --wait \"$(longhaul create primes '{\"below\": 1000}')\"\n",
     BIT(OPTION_FILE) | BIT(OPTION_NO_START) | BIT(OPTION_JSON), 1, 2, verb_create},
    {"status", "ID...", "print the status of tasks",
     "Ends with 66 where an id is unknown (its status is Invalid). --json prints a line for "
     "each.\n\n"
     "  longhaul status ts_word_count_0193…\n",
     BIT(OPTION_JSON), 1, -1, verb_status},
    {"result", "ID", "print the result of a task",
     "Ends with 75 while the task has not ended, with 65 where it failed.\n\n"
     "  longhaul result --wait --timeout 60 ts_word_count_0193…\n",
     BIT(OPTION_WAIT) | BIT(OPTION_TIMEOUT) | BIT(OPTION_JSON), 1, 1, verb_result},
    {"list", "", "list tasks, the newest first",
     "  longhaul list --service word_count --status failed --size 100\n"
     "  longhaul list --json | jq -r '.data[].task_id'\n",
     BIT(OPTION_SERVICE) | BIT(OPTION_STATUS) | BIT(OPTION_PAGE) | BIT(OPTION_SIZE) |
         BIT(OPTION_JSON),
     0, 0, verb_list},
};

/* -- help -- */

static void help_options(unsigned mask) {
    for (size_t i = 0; i < OPTION_COUNT_; i++) {
        char option[40];
        if (!(mask & BIT(i)))
            continue;
        snprintf(option, sizeof(option), "--%s%s%s", options[i].name,
                 options[i].argument ? " " : "", options[i].argument ? options[i].argument : "");
        printf("  %-20s %s\n", option, options[i].help);
    }
}

static void help_verb(const struct cli_verb *verb) {
    printf("Usage: longhaul %s [OPTION]... %s\n%c%s.\n\n%s\n", verb->name, verb->arguments,
           verb->summary[0] - 'a' + 'A', verb->summary + 1, verb->help);
    help_options(verb->options);
    help_options(COMMON);
}

static void help_all(void) {
    puts("Usage: longhaul VERB [OPTION]... [ARGUMENT]...\n"
         "Creates tasks and looks at them, over the HTTP API.\n");
    for (size_t i = 0; i < LH_COUNT(verbs); i++)
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    puts("\n'longhaul VERB --help' shows its arguments. With every verb:");
    help_options(COMMON);
    puts("  --version            print the version and end\n\n"
         "Examples:\n"
         "  export LONGHAUL_URL=http://127.0.0.1:8080 AUTH_TOKEN=$(cat data/token)\n"
         "  longhaul create word_count '{\"text\": \"to be or not to be\"}'\n"
         "  longhaul list\n\n"
         "Exit status: 0 when it was done, else a number of sysexits.h: 64 wrong usage, 65 "
         "refused,\n"
         "66 unknown task, 69 the API cannot serve, 74 no connection, 75 not finished yet,\n"
         "77 wrong token, 78 wrong configuration.");
}

/* -- options -- */

enum rc cli_integer(const struct cli *cli, enum cli_option option, int64_t min, int64_t *ret,
                    struct error *err) {
    const char *text = cli->value[option];
    if (!text)
        return RC_OK;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || text[0] == ' ')
        return error_set(err, RC_USAGE,
                         "--%s: expected a whole number from %" PRId64 ", found '%s'",
                         options[option].name, min, text);
    *ret = value;
    return RC_OK;
}

enum rc cli_seconds(const struct cli *cli, enum cli_option option, int64_t *ret_ms,
                    struct error *err) {
    enum { LONGEST_S = 1000000000 };
    const char *text = cli->value[option];
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= LONGEST_S))
        return error_set(err, RC_USAGE, "--%s: expected seconds, found '%s'", options[option].name,
                         text);
    *ret_ms = (int64_t)(value * 1000);
    return RC_OK;
}

void cli_print_json(struct json_span json) {
    while (json.len && (json.at[json.len - 1] == '\n' || json.at[json.len - 1] == ' '))
        json.len--;
    fwrite(json.at, 1, json.len, stdout);
    putchar('\n');
}

/* Reads the options of `mask` into cli->value and finds the arguments. */
static enum rc options_read(struct cli *cli, int argc, char **argv, unsigned mask,
                            struct error *err) {
    struct option known[OPTION_COUNT_ + 1] = {{0}};
    size_t n = 0;
    for (int i = 0; i < OPTION_COUNT_; i++)
        if (mask & BIT(i))
            known[n++] = (struct option){
                options[i].name, options[i].argument ? required_argument : no_argument, NULL, i};
    optind = 0;
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, ":", known, NULL)) != -1) {
        if (option == ':')
            return error_set(err, RC_USAGE, "%s needs a value", argv[optind - 1]);
        if (option == '?')
            return error_set(err, RC_USAGE, "%s: unknown option '%s'", argv[0], argv[optind - 1]);
        cli->value[option] = optarg ? optarg : "";
    }
    cli->args = argv + optind;
    cli->n_args = argc - optind;
    return RC_OK;
}

static enum rc arguments_check(const struct cli *cli, const struct cli_verb *verb,
                               struct error *err) {
    if (cli->n_args < verb->min_args)
        return error_set(err, RC_USAGE, "usage: longhaul %s %s", verb->name, verb->arguments);
    if (verb->max_args >= 0 && cli->n_args > verb->max_args)
        return error_set(err, RC_USAGE, "%s: unexpected argument '%s'", verb->name,
                         cli->args[verb->max_args]);
    return RC_OK;
}

/* -- the API -- */

static void config_destroy_ptr(struct config **cfg) {
    config_destroy(*cfg);
}

/* The configuration that was named, or that of this folder if there is one; else NULL. */
static enum rc config_find(const struct cli *cli, struct config **ret, struct error *err) {
    const char *path = cli->value[OPTION_CONFIG];
    if (!path && access("config.yaml", F_OK) != 0)
        return RC_OK;
    return config_load(path ? path : "config.yaml", ret, err);
}

/* A variable, NULL where it is not set or empty. */
static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static enum rc token_find(const struct config *cfg, char **ret, struct error *err) {
    const char *env = environment("AUTH_TOKEN");
    if (!env && (!cfg || !cfg->auth_token_file))
        return error_set(err, RC_USAGE,
                         "no access token: give --token, set AUTH_TOKEN, or name a configuration "
                         "with auth_token_file by --config");
    if (cfg)
        return config_auth_token(cfg, ret, err);
    *ret = mem_dup(env, strlen(env));
    return *ret ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

/* What is given on the command line or in the environment beats the configuration, which is read
 * only where something is missing or it was named. */
static enum rc connect_api(struct cli *cli, struct error *err) {
    LH_CLEANUP(config_destroy_ptr) struct config *cfg = NULL;
    LH_FREE char *token = NULL;
    const char *url = cli->value[OPTION_URL] ? cli->value[OPTION_URL] : environment("LONGHAUL_URL");
    bool complete = url && (cli->value[OPTION_TOKEN] || environment("AUTH_TOKEN"));
    enum rc rc = complete && !cli->value[OPTION_CONFIG] ? RC_OK : config_find(cli, &cfg, err);
    if (rc == RC_OK && !cli->value[OPTION_TOKEN])
        rc = token_find(cfg, &token, err);
    if (rc != RC_OK)
        return rc;
    if (!url)
        url = cfg ? cfg->api_url : "http://127.0.0.1:8080";
    return client_create(url, token ? token : cli->value[OPTION_TOKEN], &cli->client, err);
}

/* -- running -- */

static enum rc unknown_verb(const char *name, struct error *err) {
    char hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, name);
    for (size_t i = 0; i < LH_COUNT(verbs); i++)
        near_offer(&near, verbs[i].name, strlen(verbs[i].name));
    return error_set(err, RC_USAGE, "unknown verb '%s'%s", name, near_hint(&near, hint));
}

static const struct cli_verb *verb_find(const char *name) {
    for (size_t i = 0; i < LH_COUNT(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static enum rc verb_run(struct cli *cli, const struct cli_verb *verb, int argc, char **argv,
                        struct error *err) {
    enum rc rc = options_read(cli, argc, argv, COMMON | verb->options, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_HELP]) {
        help_verb(verb);
        return RC_OK;
    }
    rc = arguments_check(cli, verb, err);
    if (rc == RC_OK)
        rc = connect_api(cli, err);
    return rc == RC_OK ? verb->run(cli, err) : rc;
}

/* Where the verb stands: options before it are --url URL, --token=TOKEN and the like. */
static int verb_index(int argc, char **argv) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        for (size_t o = 0; o < OPTION_COUNT_; o++)
            if (options[o].argument && strncmp(argv[i], "--", 2) == 0 &&
                strcmp(argv[i] + 2, options[o].name) == 0) {
                i++;
                break;
            }
    }
    return i;
}

/* Moves the verb before the options that came before it: one reading is enough then. */
static void verb_to_front(char **argv, int at) {
    char *verb = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(*argv));
    argv[1] = verb;
}

static enum rc run(struct cli *cli, int argc, char **argv, struct error *err) {
    int at = verb_index(argc, argv);
    bool any = argc > 1;
    if (any && strcmp(argv[1], "--version") == 0) {
        puts("longhaul " LH_VERSION);
        return RC_OK;
    }
    if (any && strcmp(argv[1], "--help") == 0) {
        help_all();
        return RC_OK;
    }
    if (at >= argc)
        return error_set(err, RC_USAGE, "which verb? See 'longhaul --help'");
    const struct cli_verb *verb = verb_find(argv[at]);
    if (!verb)
        return unknown_verb(argv[at], err);
    verb_to_front(argv, at);
    return verb_run(cli, verb, argc - 1, argv + 1, err);
}

/* What the API says may hold what a task said: no control character reaches the terminal. */
static void error_print(const struct error *err, enum rc rc) {
    fputs("longhaul: ", stderr);
    for (const char *c = err->text; *c; c++)
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c, stderr);
    fprintf(stderr, " (%s)\n", rc_info(rc)->word);
}

int main(int argc, char **argv) {
    struct cli cli = {.n_args = 0};
    struct error err = {.text = ""};
    signal(SIGPIPE, SIG_IGN);
    enum rc rc = run(&cli, argc, argv, &err);
    client_destroy(cli.client);
    if (fflush(stdout) != 0 && rc == RC_OK)
        rc = error_set(&err, RC_IO, "stdout: %s", strerror(errno));
    if (rc != RC_OK)
        error_print(&err, rc);
    return rc_info(rc)->exit;
}
