/* verb_manual.c: longhaul(1), the manual page, from the tables. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/help.h"
#include "config/manual.h"

#include <ctype.h>
#include <string.h>

enum { LINE_CAP = 200, WORDS_CAP = 2000 };

static const struct manual_page see_also[] = {
    {"longhaul-api", 8}, {"longhaul-consumer", 8}, {"longhaul-config", 5}, {NULL, 0}};

static void print_options(uint64_t mask) {
    for (int i = 0; i < OPTION_COUNT_; i++)
        if (mask & OPTION_BIT(i))
            manual_item(stdout, help_option_head((enum cli_option)i), option_rows[i].help);
}

static void print_verb(const struct cli_verb *verb) {
    char line[LINE_CAP];
    manual_subsection(stdout, verb->name);
    snprintf(line, sizeof line, "longhaul %s [OPTION]...%s%s", verb->name,
             verb->arguments[0] ? " " : "", verb->arguments);
    manual_usage(stdout, line);
    snprintf(line, sizeof line, "%c%s.", toupper((unsigned char)verb->summary[0]),
             verb->summary + 1);
    manual_text(stdout, line);
    manual_text(stdout, verb->help);
    print_options(verb->options);
}

static void print_exits(void) {
    manual_section(stdout, "EXIT STATUS");
    for (size_t i = 0; i < n_help_exits; i++) {
        char status[16], text[WORDS_CAP];
        LH_CLEANUP_BUF struct buf words;
        buf_init(&words, WORDS_CAP / 2);
        snprintf(status, sizeof status, "%d", help_exits[i].status);
        bool any = help_exit_words(help_exits[i].status, &words) && buf_rc(&words) == RC_OK;
        snprintf(text, sizeof text, "%s%s%s%s", help_exits[i].meaning, any ? " (" : "",
                 any ? words.data : "", any ? ")" : "");
        manual_item(stdout, status, text);
    }
}

static void print_environment(void) {
    manual_section(stdout, "ENVIRONMENT");
    for (size_t i = 0; i < n_help_variables; i++)
        manual_item(stdout, help_variables[i].name, help_variables[i].meaning);
}

enum rc verb_manual(const struct cli *cli, struct error *err) {
    (void)cli, (void)err;
    manual_begin(stdout, "longhaul", 1, "create, look at and steer tasks of the longhaul queue");
    manual_section(stdout, "SYNOPSIS");
    manual_usage(stdout, "longhaul VERB [OPTION]... [ARGUMENT]...");
    manual_section(stdout, "DESCRIPTION");
    manual_text(stdout,
                "Works over the HTTP API of longhaul-api.\n\n"
                "On a terminal there are tables with headings, colours and bars. In a pipe a row "
                "is a line of cells\n"
                "separated by tabs, without headings, and nothing is cut.");
    manual_section(stdout, "VERBS");
    for (size_t i = 0; i < n_cli_verbs; i++)
        print_verb(&cli_verbs[i]);
    manual_section(stdout, "COMMON OPTIONS");
    print_options(OPTIONS_COMMON);
    print_environment();
    print_exits();
    manual_see_also(stdout, see_also);
    return RC_OK;
}
