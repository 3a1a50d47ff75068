/* arguments.c: getopt_long over the options of one verb. */
#include "cli/arguments.h"

#include "base/mem.h"
#include "config/near.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

enum { LETTERS = 2 * OPTION_COUNT_ + 2 };

/* What getopt_long is told of a verb's options. */
struct known {
    struct option rows[OPTION_COUNT_ + 1];
    char letters[LETTERS];
};

static struct known known_make(uint64_t mask) {
    struct known known = {.letters = ":"};
    size_t n = 0, at = 1;
    for (int i = 0; i < OPTION_COUNT_; i++) {
        const struct option_row *row = &option_rows[i];
        if (!(mask & OPTION_BIT(i)))
            continue;
        known.rows[n++] = (struct option){
            row->name, row->argument ? required_argument : no_argument, NULL, 256 + i};
        if (row->letter) {
            known.letters[at++] = row->letter;
            if (row->argument)
                known.letters[at++] = ':';
        }
    }
    return known;
}

static enum cli_option option_of(int found, uint64_t mask) {
    if (found >= 256)
        return (enum cli_option)(found - 256);
    for (int i = 0; i < OPTION_COUNT_; i++)
        if ((mask & OPTION_BIT(i)) && option_rows[i].letter == found)
            return (enum cli_option)i;
    return OPTION_COUNT_;
}

static enum rc option_unknown(const char *verb, const char *text, uint64_t mask,
                              struct error *err) {
    char hint[NEAR_HINT_CAP], name[NEAR_WORD_MAX + 1];
    struct near near;
    size_t len = strcspn(text, "=");
    mem_copy_str(name, sizeof name, text);
    if (len < sizeof name)
        name[len] = '\0';
    near_init(&near, name);
    for (int i = 0; i < OPTION_COUNT_; i++) {
        char candidate[NEAR_WORD_MAX + 1] = "--";
        if ((mask & OPTION_BIT(i)) &&
            mem_copy_str(candidate + 2, sizeof candidate - 2, option_rows[i].name))
            near_offer(&near, candidate, strlen(candidate));
    }
    return error_set(err, RC_USAGE, "%s: unknown option '%s'%s", verb, text,
                     near_hint(&near, hint));
}

/* Notes one option; false where it may stand only once and has another value already. */
static bool take(struct cli *cli, enum cli_option option, const char *value) {
    bool twice = cli->value[option] && !option_rows[option].repeat && option_rows[option].argument;
    cli->value[option] = value;
    cli->given[cli->n_given++] = (struct cli_given){option, value};
    return !twice;
}

static enum rc read_options(struct cli *cli, uint64_t mask, int argc, char **argv,
                            struct error *err) {
    struct known known = known_make(mask);
    int found;
    optind = 0;
    opterr = 0;
    while ((found = getopt_long(argc, argv, known.letters, known.rows, NULL)) != -1) {
        if (found == ':')
            return error_set(err, RC_USAGE, "%s needs a value", argv[optind - 1]);
        enum cli_option option = found == '?' ? OPTION_COUNT_ : option_of(found, mask);
        if (option == OPTION_COUNT_ && optopt > 0 && optopt < 256) {
            char letter[3] = {'-', (char)optopt, '\0'};
            return option_unknown(argv[0], letter, mask, err);
        }
        if (option == OPTION_COUNT_)
            return option_unknown(argv[0], argv[optind - 1], mask, err);
        if (!take(cli, option, optarg ? optarg : ""))
            return error_set(err, RC_USAGE, "--%s: given twice", option_rows[option].name);
    }
    cli->args = argv + optind;
    cli->n_args = argc - optind;
    return RC_OK;
}

enum rc arguments_read(struct cli *cli, const struct cli_verb *verb, int argc, char **argv,
                       struct error *err) {
    cli->given = calloc((size_t)argc + 1, sizeof *cli->given);
    if (!cli->given)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return read_options(cli, cli_verb_options(verb), argc, argv, err);
}

void arguments_finish(struct cli *cli) {
    free(TAKE(cli->given));
}

enum rc arguments_check(const struct cli *cli, const struct cli_verb *verb, struct error *err) {
    if (cli->n_args < verb->min_args)
        return error_set(err, RC_USAGE, "usage: longhaul %s %s", verb->name, verb->arguments);
    if (verb->max_args >= 0 && cli->n_args > verb->max_args)
        return error_set(err, RC_USAGE, "%s: unexpected argument '%s'", verb->name,
                         cli->args[verb->max_args]);
    return RC_OK;
}

int arguments_verb(int argc, char **argv) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        for (size_t o = 0; o < OPTION_COUNT_; o++)
            if (option_rows[o].argument && strncmp(argv[i], "--", 2) == 0 &&
                strcmp(argv[i] + 2, option_rows[o].name) == 0) {
                i++;
                break;
            }
    }
    return i;
}

const char *cli_value(const struct cli *cli, enum cli_option option, size_t i) {
    for (size_t at = 0; at < cli->n_given; at++)
        if (cli->given[at].option == option && i-- == 0)
            return cli->given[at].value;
    return NULL;
}

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
                         option_rows[option].name, min, text);
    *ret = value;
    return RC_OK;
}

/* How many seconds a unit has; 0: it is none. */
static double unit_s(const char *unit) {
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    for (size_t i = 0; i < LH_COUNT(units); i++)
        if (strcmp(units[i].name, unit) == 0)
            return units[i].seconds;
    return 0;
}

enum rc cli_duration(const struct cli *cli, enum cli_option option, int64_t *ret_ms,
                     struct error *err) {
    static const double longest_s = 1e10;
    const char *text = cli->value[option];
    if (!text)
        return RC_OK;
    char *end;
    double value = strtod(text, &end), seconds = value * unit_s(end);
    if (end == text || unit_s(end) == 0 || !(seconds >= 0 && seconds <= longest_s))
        return error_set(err, RC_USAGE, "--%s: expected seconds, or 15m, 2h, 7d, found '%s'",
                         option_rows[option].name, text);
    *ret_ms = (int64_t)(seconds * 1000);
    return RC_OK;
}
