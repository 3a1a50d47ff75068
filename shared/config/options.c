/* options.c: getopt_long over one table, and what the common options do. */
#include "config/options.h"

#include "base/mem.h"
#include "config/manual.h"

#include <getopt.h>
#include <string.h>
#include <sysexits.h>

enum common {
    OPT_CONFIG,
    OPT_CHECK,
    OPT_PRINT,
    OPT_DOCS,
    OPT_PAGE,
    OPT_MANUAL,
    OPT_FORMAT,
    OPT_LEVEL,
    OPT_HELP,
    OPT_VERSION,
    OPT_EXTRA
}; /* OPT_EXTRA + i: the program's own */

static const struct {
    const char *name, *argument, *help;
} common[] = {
    [OPT_CONFIG] = {"config", "FILE", "the configuration (default: config.yaml)"},
    [OPT_CHECK] = {"check-config", NULL, "check it and end"},
    [OPT_PRINT] = {"print-config", NULL, "print what is in effect, without secrets, and end"},
    [OPT_DOCS] = {"print-config-docs", NULL, "print the documentation of all keys and end"},
    [OPT_PAGE] = {"print-config-manual", NULL, "print longhaul-config(5) and end"},
    [OPT_MANUAL] = {"print-manual", NULL, "print the manual page of this program and end"},
    [OPT_FORMAT] = {"log-format", "FORMAT", "json (default) or text"},
    [OPT_LEVEL] = {"log-level", "LEVEL", "debug, info (default), warning or error"},
    [OPT_HELP] = {"help", NULL, "print this and end"},
    [OPT_VERSION] = {"version", NULL, "print the version and end"},
};

struct parse {
    const struct options_program *program;
    struct option long_options[OPT_EXTRA + OPTIONS_EXTRA_MAX + 1];
    const char *config;
    enum log_format format;
    enum log_level level;
    enum common action; /* OPT_CHECK … OPT_VERSION, or OPT_CONFIG: run */
    struct options *options;
    int exit;
};

static bool has_option(const struct options_program *program, int option) {
    return program->docs || (option != OPT_DOCS && option != OPT_PAGE);
}

static void long_options_fill(struct parse *p) {
    size_t n = 0;
    for (int i = 0; i < OPT_EXTRA; i++)
        if (has_option(p->program, i))
            p->long_options[n++] = (struct option){
                common[i].name, common[i].argument ? required_argument : no_argument, NULL, i};
    for (size_t i = 0; i < p->program->n_extra; i++)
        p->long_options[n++] =
            (struct option){p->program->extra[i].name, required_argument, NULL, OPT_EXTRA + (int)i};
}

/* One option of a list: "--config FILE" and what it does. */
typedef void option_row(const char *head, const char *help);

static void help_row(const char *head, const char *help) {
    printf("  %-24s %s\n", head, help);
}

static void manual_row(const char *head, const char *help) {
    manual_item(stdout, head, help);
}

static void print_row(option_row *row, const char *name, const char *argument, const char *help) {
    char head[64];
    snprintf(head, sizeof head, "--%s%s%s", name, argument ? " " : "", argument ? argument : "");
    row(head, help);
}

static void print_options(const struct options_program *program, option_row *row) {
    for (int i = 0; i < OPT_EXTRA; i++)
        if (has_option(program, i))
            print_row(row, common[i].name, common[i].argument, common[i].help);
    for (size_t i = 0; i < program->n_extra; i++)
        print_row(row, program->extra[i].name, program->extra[i].argument, program->extra[i].help);
}

static void help_print(const struct options_program *program) {
    printf("Usage: %s [OPTION]...\n%s\n\n", program->name, program->summary);
    print_options(program, help_row);
}

static const struct {
    const char *head, *text;
} manual_exits[] = {
    {"0", "ended as asked"},
    {"64", "wrong usage"},
    {"66", "the configuration file cannot be read"},
    {"69, 74", "a server, a file or a socket does not answer"},
    {"75", "another API owns the database file, or runs were given back unfinished"},
    {"78", "the configuration is wrong: FILE:LINE: KEY: what is wrong"},
};

static const struct {
    const char *head, *text;
} manual_variables[] = {
    {"AUTH_TOKEN", "the access token, in place of `auth_token_file`"},
    {"MONGO_PASSWORD", "the password of MongoDB, in place of the file's"},
    {"SASL_PLAIN_PASSWORD", "the password of Kafka, in place of the file's"},
};

static void options_manual(const struct options_program *program) {
    static const struct manual_page pages[] = {{"longhaul", 1}, {"longhaul-config", 5}, {NULL, 0}};
    char line[128], summary[160];
    snprintf(summary, sizeof summary, "%.*s", (int)strcspn(program->summary, "."),
             program->summary);
    summary[0] = (char)(summary[0] | 0x20);
    manual_begin(stdout, program->name, 8, summary);
    manual_section(stdout, "SYNOPSIS");
    snprintf(line, sizeof line, "%s [OPTION]...", program->name);
    manual_usage(stdout, line);
    manual_section(stdout, "DESCRIPTION");
    manual_text(stdout, program->summary);
    manual_text(stdout, program->manual);
    manual_section(stdout, "OPTIONS");
    print_options(program, manual_row);
    manual_section(stdout, "ENVIRONMENT");
    for (size_t i = 0; i < LH_COUNT(manual_variables); i++)
        manual_item(stdout, manual_variables[i].head, manual_variables[i].text);
    manual_section(stdout, "EXIT STATUS");
    for (size_t i = 0; i < LH_COUNT(manual_exits); i++)
        manual_item(stdout, manual_exits[i].head, manual_exits[i].text);
    manual_see_also(stdout, pages);
}

static bool usage(struct parse *p) {
    fprintf(stderr, "Try '%s --help'.\n", p->program->name);
    p->exit = EX_USAGE;
    return false;
}

static bool bad_value(struct parse *p, enum common option, const char *value) {
    fprintf(stderr, "%s: --%s: expected %s, found '%s'\n", p->program->name, common[option].name,
            common[option].help, value);
    return usage(p);
}

static bool extra_add(struct parse *p, const struct options_extra *extra, const char *value) {
    struct options *options = p->options;
    if (!extra->repeat && options_value(options, extra->name, 0)) {
        fprintf(stderr, "%s: --%s: given twice\n", p->program->name, extra->name);
        return usage(p);
    }
    struct options_value *values =
        reallocarray(options->values, options->n_values + 1, sizeof(*values));
    if (!values) {
        fprintf(stderr, "%s: out of memory\n", p->program->name);
        p->exit = EX_OSERR;
        return false;
    }
    options->values = values;
    values[options->n_values++] = (struct options_value){extra->name, value};
    return true;
}

static bool option_apply(struct parse *p, int option) {
    switch (option) {
    case OPT_CONFIG:
        p->config = optarg;
        return true;
    case OPT_FORMAT:
        return log_format_from_name(optarg, &p->format) || bad_value(p, OPT_FORMAT, optarg);
    case OPT_LEVEL:
        return log_level_from_name(optarg, &p->level) || bad_value(p, OPT_LEVEL, optarg);
    case '?':
        return usage(p);
    default:
        if (option >= OPT_EXTRA)
            return extra_add(p, &p->program->extra[option - OPT_EXTRA], optarg);
        p->action = (enum common)option;
        return true;
    }
}

static bool line_read(struct parse *p, int argc, char **argv) {
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", p->long_options, NULL)) != -1)
        if (!option_apply(p, option))
            return false;
    if (optind == argc)
        return true;
    fprintf(stderr, "%s: unexpected argument '%s'\n", p->program->name, argv[optind]);
    return usage(p);
}

static bool config_read(struct parse *p) {
    struct error err;
    enum rc rc = config_load(p->config, &p->options->cfg, &err);
    if (rc == RC_OK)
        return true;
    fprintf(stderr, "%s: %s\n", p->program->name, err.text);
    p->exit = rc == RC_IO ? EX_NOINPUT : rc_info(rc)->exit;
    return false;
}

static bool given_alone(const struct parse *p) {
    for (size_t i = 0; i < p->program->n_extra; i++)
        if (p->program->extra[i].alone && options_value(p->options, p->program->extra[i].name, 0))
            return true;
    return false;
}

/* Does what was asked instead of running; false when there is nothing left to do. */
static bool action_run(struct parse *p) {
    switch (p->action) {
    case OPT_HELP:
        help_print(p->program);
        return false;
    case OPT_VERSION:
        printf("%s %s\n", p->program->name, LH_VERSION);
        return false;
    case OPT_MANUAL:
        options_manual(p->program);
        return false;
    case OPT_PAGE:
        config_print_manual(stdout);
        return false;
    case OPT_DOCS:
        config_print_docs(stdout);
        return false;
    default:
        break;
    }
    if (given_alone(p))
        return true;
    if (!config_read(p))
        return false;
    if (p->action == OPT_CHECK)
        printf("%s: ok\n", p->config);
    else if (p->action == OPT_PRINT)
        config_print(p->options->cfg, stdout);
    return p->action == OPT_CONFIG;
}

bool options_parse(int argc, char **argv, const struct options_program *program,
                   struct options *ret, int *ret_exit) {
    struct options options = {0};
    struct parse p = {.program = program,
                      .config = "config.yaml",
                      .format = LOG_JSON,
                      .level = LOG_INFO,
                      .action = OPT_CONFIG,
                      .options = &options};
    long_options_fill(&p);
    if (line_read(&p, argc, argv) && action_run(&p)) {
        log_setup(program->component, p.format, p.level);
        *ret = options;
        return true;
    }
    options_finish(&options);
    if (fflush(stdout) != 0 && !p.exit)
        p.exit = EX_IOERR;
    *ret_exit = p.exit;
    return false;
}

void options_finish(struct options *options) {
    config_destroy(TAKE(options->cfg));
    free(TAKE(options->values));
    options->n_values = 0;
}

const char *options_value(const struct options *options, const char *name, size_t i) {
    for (size_t v = 0; v < options->n_values; v++)
        if (strcmp(options->values[v].name, name) == 0 && i-- == 0)
            return options->values[v].value;
    return NULL;
}
