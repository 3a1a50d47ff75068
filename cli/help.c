/* help.c: usage, options, environment and exit statuses for people. */
#include "cli/help.h"

#include "base/mem.h"
#include "cli/terminal_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_WIDTH = 24, HEAD_CAP = 64, LINE_WIDTH = 100 };

const struct help_variable help_variables[] = {
    {"LONGHAUL_URL", "the API's address, like --url"},
    {"AUTH_TOKEN", "the access token, like --token"},
    {"LONGHAUL_TOKEN_FILE", "a file whose first line is the access token"},
    {"LONGHAUL_CA", "certificates that an https address is checked by (else api_tls)"},
    {"LONGHAUL_CERT", "the certificate to show there"},
    {"LONGHAUL_KEY", "its key, if it is not in the same file"},
    {"VISUAL", "the editor of edit; else EDITOR, else vi"},
    {"NO_COLOR", "if it is set and not empty, nothing is coloured"},
};
const size_t n_help_variables = LH_COUNT(help_variables);

const struct help_exit help_exits[] = {
    {0, "done"},
    {1, "doctor found something that needs attention"},
    {64, "wrong usage"},
    {65, "refused: wrong data, or the task's state does not allow it"},
    {66, "no such task, or it has been removed"},
    {69, "the API, its store or its broker cannot serve now"},
    {70, "a defect of longhaul"},
    {71, "out of memory"},
    {74, "no connection, or a file cannot be read or written"},
    {75, "not now: not finished, paused, full; try again later"},
    {76, "the other side does not speak as it should"},
    {77, "the token is wrong, or does not allow it"},
    {78, "the configuration is wrong"},
    {130, "ended by a signal"},
};
const size_t n_help_exits = LH_COUNT(help_exits);

bool help_exit_words(int status, struct buf *to) {
    bool any = false;
    for (int i = 1; i < RC_COUNT_; i++) {
        const struct rc_info *info = rc_info((enum rc)i);
        if (info->exit != status)
            continue;
        buf_printf(to, "%s%s", any ? ", " : "", info->word);
        any = true;
    }
    return any;
}

const char *help_option_head(enum cli_option option) {
    static char head[HEAD_CAP];
    const struct option_row *row = &option_rows[option];
    char letter[8] = "";
    if (row->letter)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(head, sizeof head, "%s--%s%s%s", letter, row->name, row->argument ? " " : "",
             row->argument ? row->argument : "");
    return head;
}

/* A row whose text goes on below itself where the line is full. */
static void print_row(const char *head, const char *text) {
    printf("  %-*s", HEAD_WIDTH, head);
    size_t column = 2 + (strlen(head) > HEAD_WIDTH ? strlen(head) : HEAD_WIDTH);
    for (size_t len; *text; text += len + strspn(text + len, " ")) {
        len = strcspn(text, " ");
        size_t width = terminal_text_width(text, len);
        if (column + 1 + width > LINE_WIDTH) {
            printf("\n  %-*s", HEAD_WIDTH, "");
            column = 2 + HEAD_WIDTH;
        }
        printf(" %.*s", (int)len, text);
        column += 1 + width;
    }
    putchar('\n');
}

static void print_options(uint64_t mask) {
    for (int i = 0; i < OPTION_COUNT_; i++)
        if (mask & OPTION_BIT(i))
            print_row(help_option_head((enum cli_option)i), option_rows[i].help);
}

void help_version(void) {
    puts("longhaul " LH_VERSION);
}

void help_verb(const struct cli_verb *verb) {
    printf("Usage: longhaul %s [OPTION]...%s%s\n%c%s.\n\n%s\n", verb->name,
           verb->arguments[0] ? " " : "", verb->arguments, toupper((unsigned char)verb->summary[0]),
           verb->summary + 1, verb->help);
    print_options(verb->options & ~OPTIONS_COMMON);
    print_options(cli_verb_options(verb) & OPTIONS_COMMON);
}

static void print_exits(void) {
    puts("\nExit status:");
    for (size_t i = 0; i < n_help_exits; i++)
        printf("  %-4d %s\n", help_exits[i].status, help_exits[i].meaning);
}

void help_all(void) {
    puts("Usage: longhaul VERB [OPTION]... [ARGUMENT]...\n"
         "Creates tasks, looks at them and steers them, over the HTTP API.\n");
    for (size_t i = 0; i < n_cli_verbs; i++)
        printf("  %-10s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    puts("\n'longhaul VERB --help' shows its arguments. With every verb:");
    print_options(OPTIONS_COMMON);
    print_row("--version", "print the version and end");
    puts("\nEnvironment:");
    for (size_t i = 0; i < n_help_variables; i++)
        print_row(help_variables[i].name, help_variables[i].meaning);
    print_exits();
    puts("\nExamples:\n"
         "  export LONGHAUL_URL=http://127.0.0.1:8080 AUTH_TOKEN=$(cat data/token)\n"
         "  longhaul create word_count '{\"text\": \"to be or not to be\"}'\n"
         "  longhaul list");
}

enum rc verb_help(const struct cli *cli, struct error *err) {
    if (cli->n_args == 0) {
        help_all();
        return RC_OK;
    }
    const struct cli_verb *verb = cli_verb_find(cli->args[0]);
    if (!verb)
        return cli_verb_unknown(cli->args[0], err);
    help_verb(verb);
    return RC_OK;
}
