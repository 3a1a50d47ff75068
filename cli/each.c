/* each.c: the calls of verbs that take any number of tasks or services. */
#include "cli/each.h"

#include "base/mem.h"
#include "cli/service_names.h"

#include <stdio.h>
#include <string.h>

static enum rc call(const struct cli *cli, const struct each *each, const char *argument,
                    struct answer *ret, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_printf(&body, "{\"data\":{\"%s\":", each->subject);
    buf_json_str(&body, argument);
    enum rc rc = each->more ? each->more(cli, &body, err) : RC_OK;
    buf_str(&body, "}}");
    if (rc == RC_OK)
        rc = client_post(cli->client, each->path, &body, ret, err);
    return strcmp(each->subject, "service") == 0 ? service_names_hint(cli, argument, rc, err) : rc;
}

static enum rc call_and_show(const struct cli *cli, const struct each *each, const char *argument,
                             struct error *err) {
    LH_ANSWER answer = {0};
    enum rc rc = call(cli, each, argument, &answer, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_JSON])
        cli_print_json(answer.body);
    else
        each->show(&answer);
    return RC_OK;
}

enum rc each_argument(const struct cli *cli, const struct each *each, struct error *err) {
    enum rc first = RC_OK;
    for (int i = 0; i < cli->n_args; i++) {
        struct error why = {.text = ""};
        enum rc rc = call_and_show(cli, each, cli->args[i], &why);
        if (rc == RC_OK)
            continue;
        char text[sizeof why.text];
        bool named = cli->n_args == 1 || rc == RC_INTERRUPTED || strstr(why.text, cli->args[i]);
        snprintf(text, sizeof text, "%.200s%s%.300s", named ? "" : cli->args[i], named ? "" : ": ",
                 why.text);
        if (cli->n_args == 1 || rc == RC_INTERRUPTED || rc == RC_USAGE)
            return error_set(err, rc, "%s", text);
        cli_say(text, rc);
        first = first == RC_OK ? rc : first;
    }
    return first;
}
