/* main.c: longhaul VERB: finds the verb, its options and the API, and says how it ended. */
#include "cli/arguments.h"
#include "cli/connect.h"
#include "cli/help.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/terminal_text.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Moves the verb before the options that came before it: one reading is enough then. */
static void verb_to_front(char **argv, int at) {
    char *verb = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(*argv));
    argv[1] = verb;
}

static enum rc verb_run(struct cli *cli, const struct cli_verb *verb, int argc, char **argv,
                        struct error *err) {
    enum rc rc = arguments_read(cli, verb, argc, argv, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_HELP]) {
        help_verb(verb);
        return RC_OK;
    }
    rc = arguments_check(cli, verb, err);
    if (rc == RC_OK && !verb->offline)
        rc = connection_open(cli, err);
    if (rc == RC_OK)
        rc = verb->run(cli, err);
    if (rc == RC_UNAUTHORIZED && strcmp(err->text, rc_info(rc)->text) == 0)
        return error_set(err, rc, "%s does not take the token of %s", client_url(cli->client),
                         connection_token_from(cli));
    return rc;
}

/* What the program answers without a verb. */
static const struct {
    const char *option;
    void (*print)(void);
} answers[] = {{"--version", help_version}, {"--help", help_all}};

static enum rc run(struct cli *cli, int argc, char **argv, struct error *err) {
    for (size_t i = 0; argc > 1 && i < sizeof answers / sizeof *answers; i++)
        if (strcmp(argv[1], answers[i].option) == 0) {
            answers[i].print();
            return RC_OK;
        }
    int at = arguments_verb(argc, argv);
    if (at >= argc)
        return error_set(err, RC_USAGE, "which verb? See 'longhaul --help'");
    const struct cli_verb *verb = cli_verb_find(argv[at]);
    if (!verb)
        return cli_verb_unknown(argv[at], err);
    verb_to_front(argv, at);
    return verb_run(cli, verb, argc - 1, argv + 1, err);
}

/* What the API says may hold what a task said: no control character reaches the terminal. */
void cli_say(const char *text, enum rc rc) {
    fputs("longhaul: ", stderr);
    bool control;
    for (size_t n, len = strlen(text); len > 0; text += n, len -= n) {
        n = terminal_text_char(text, len, &control);
        fwrite(control ? " " : text, 1, control ? 1 : n, stderr);
    }
    if (rc == RC_OK)
        fputc('\n', stderr);
    else
        fprintf(stderr, " (%s)\n", rc_info(rc)->word);
}

void cli_print_json(struct json_span json) {
    while (json.len && (json.at[json.len - 1] == '\n' || json.at[json.len - 1] == ' '))
        json.len--;
    fwrite(json.at, 1, json.len, stdout);
    putchar('\n');
}

/* A reader that has gone away ends the program as it ends any other: without a word. */
static void end_quietly(void) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

int main(int argc, char **argv) {
    struct cli cli = {.n_args = 0};
    struct error err = {.text = ""};
    interrupt_init();
    enum rc rc = run(&cli, argc, argv, &err), flushed = terminal_flush(rc == RC_OK ? &err : NULL);
    client_destroy(cli.client);
    arguments_finish(&cli);
    if (terminal_broken_pipe())
        end_quietly();
    if (rc == RC_OK)
        rc = flushed;
    if (rc != RC_OK && err.text[0])
        cli_say(err.text, rc);
    return rc_info(rc)->exit;
}
