/* options.h: the command line that longhaul-api and longhaul-consumer share.
 *
 *     --config FILE  --check-config  --print-config  --print-manual  --log-format=json|text
 *     --log-level LEVEL  --help  --version, and what the program adds
 *
 * Long options may be shortened as getopt_long allows. The program's main thread, once.
 */
#ifndef LH_CONFIG_OPTIONS_H
#define LH_CONFIG_OPTIONS_H

#include "base/log.h"
#include "config/config.h"

enum { OPTIONS_EXTRA_MAX = 8 };

/* An option that only one program has; it takes an argument. */
struct options_extra {
    const char *name;     /* "service" */
    const char *argument; /* "NAME" */
    const char *help;
    bool repeat; /* may be given more than once */
    bool alone;  /* there is no configuration to read then: options.cfg is NULL */
};

struct options_program {
    const char *name;      /* "longhaul-consumer" */
    const char *component; /* of log lines: "consumer" */
    const char *summary;   /* one sentence */
    const char *manual;    /* paragraphs of its manual page (config/manual.h) */
    const struct options_extra *extra;
    size_t n_extra; /* ≤ OPTIONS_EXTRA_MAX */
    bool docs;      /* has --print-config-docs and --print-config-manual */
};

struct options_value {
    const char *name;  /* of the options_extra */
    const char *value; /* borrowed from argv */
};

struct options {
    struct config *cfg;
    struct options_value *values; /* as they came */
    size_t n_values;
};

/* Reads the command line and the configuration and sets the log up. True: go on with *ret, which
 * the caller ends with options_finish. False: everything is said and done, end with *ret_exit: 0
 * after --help,
 * --version, --check-config and --print-config…, else a sysexits code (usage 64, configuration 78).
 * What is wrong is printed on stderr as "PROGRAM: …". */
bool options_parse(int argc, char **argv, const struct options_program *program,
                   struct options *ret, int *ret_exit) LH_MUST_USE;

void options_finish(struct options *options);

/* The i-th value given for an extra option, or NULL. */
const char *options_value(const struct options *options, const char *name, size_t i);

#endif
