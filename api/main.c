/* main.c: longhaul-api. */
#include "api/call/tokens.h"
#include "api/server.h"
#include "base/log.h"
#include "config/options.h"

#include <jansson.h>

static const struct options_extra extra[] = {
    {"store-fault", "PLAN",
     "for tests: let store calls fail, such as apply:3=unavailable or query:*=delay:50", false},
    {"make-token", "NAME", "make an access token, print it and its entry for `tokens`, and end",
     false, true},
};

static const struct options_program program = {
    .name = "longhaul-api",
    .component = "api",
    .summary = "Serves the task API: makes tasks durable and tells consumers about them.",
    .manual =
        "Its log is one JSON object a line on stderr; the line \"msg\":\"ready\" carries its "
        "address.\n\n"
        "SIGTERM and SIGINT end it cleanly: what is in flight is answered. A second one ends it "
        "at once.",
    .extra = extra,
    .n_extra = sizeof extra / sizeof *extra,
    .docs = true,
};

int main(int argc, char **argv) {
    struct options options;
    int status;
    if (!options_parse(argc, argv, &program, &options, &status))
        return status;
    json_object_seed(0); /* before any thread */
    struct error err = {.text = ""};
    const char *name = options_value(&options, "make-token", 0);
    enum rc rc = name ? token_make(name, stdout, &err)
                      : server_run(options.cfg, options_value(&options, "store-fault", 0), &err);
    if (rc != RC_OK)
        log_error(.msg = name ? "no token made" : "cannot start", .code = rc_info(rc)->word,
                  .error = err.text);
    options_finish(&options);
    return rc_info(rc)->exit;
}
