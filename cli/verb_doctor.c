/* verb_doctor.c: longhaul doctor: is everything as it should be, and what to do where it is not. */
#include "cli/doctor.h"

#include "base/log.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/connect.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const words[] = {"ok", "warn", "FAIL"};

static void print_json(const char *word, const char *check, const char *text, const char *advice) {
    LH_CLEANUP_BUF struct buf line;
    buf_init(&line, 65536);
    buf_printf(&line, "{\"finding\":\"%s\",\"check\":", word);
    buf_json_str(&line, check);
    buf_str(&line, ",\"text\":");
    buf_json_str(&line, text);
    buf_str(&line, ",\"advice\":");
    buf_json_str(&line, advice);
    buf_char(&line, '}');
    if (buf_rc(&line) == RC_OK)
        puts(line.data);
}

static void print_line(const char *word, const char *check, const char *text, const char *advice) {
    bool colour = terminal_colour();
    printf("%s%-4s%s  %-13s %s\n", colour ? terminal_colour_of(word) : "", word,
           colour ? TERMINAL_PLAIN : "", check, text);
    if (advice)
        printf("%20s-> %s\n", "", advice);
}

void doctor_say(struct doctor *doctor, enum finding finding, enum rc rc, const char *check,
                const char *advice, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        *c = (unsigned char)*c < 0x20 ? ' ' : *c;
    if (doctor->cli->value[OPTION_JSON])
        print_json(words[finding], check, text, advice);
    else if (terminal_out())
        print_line(words[finding], check, text, advice);
    else
        printf("%s\t%s\t%s\t%s\n", words[finding], check, text, advice ? advice : "-");
    fflush(stdout);
    doctor->count[finding]++;
    if (finding == FINDING_FAIL && doctor->count[FINDING_FAIL] == 1)
        doctor->worst = rc;
    if (finding == FINDING_WARN && doctor->worst == RC_OK)
        doctor->worst = RC_WARNING;
}

static void check_config(struct doctor *doctor) {
    struct error err = {.text = ""};
    enum rc rc = connection_config(doctor->cli, &doctor->cfg, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, rc, "configuration",
                   "correct it; docs/config.md and longhaul-config(5) describe every key", "%s",
                   err.text);
    else if (!doctor->cfg)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "configuration",
                   "name it by --config: store, broker, modules and folders are checked then",
                   "there is no config.yaml in this folder");
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "configuration", NULL, "%s: %zu services",
                   doctor->cfg->file, doctor->cfg->n_services);
}

/* Others who can read a token can do all that it may. */
static void check_token_file(struct doctor *doctor, const char *path) {
    struct stat about;
    if (path && path[0] && stat(path, &about) == 0 && (about.st_mode & 007))
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "token", "chmod o= it",
                   "%s can be read by every user", path);
}

static void check_token(struct doctor *doctor) {
    struct error err = {.text = ""};
    const struct config *cfg = doctor->cfg;
    enum rc rc = connection_token(doctor->cli, cfg, &doctor->token, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, rc == RC_USAGE ? RC_UNAUTHORIZED : rc, "token",
                   "set AUTH_TOKEN, or auth_token_file in the configuration", "%s", err.text);
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "token", NULL, "%s",
                   doctor->token ? "there is one" : "none: a certificate is shown instead");
    doctor->may_ask = rc == RC_OK;
    check_token_file(doctor, getenv("LONGHAUL_TOKEN_FILE"));
    check_token_file(doctor, cfg ? cfg->auth_token_file : NULL);
    check_token_file(doctor, cfg ? cfg->consumer_token_file : NULL);
}

static void doctor_finish(struct doctor *doctor) {
    config_destroy(doctor->cfg);
    client_destroy(doctor->client);
    free(doctor->token);
}

enum rc verb_doctor(const struct cli *cli, struct error *err) {
    static void (*const parts[])(struct doctor * doctor) = {
        check_config,  check_token,    doctor_api,     doctor_store,
        doctor_broker, doctor_modules, doctor_folders,
    };
    struct doctor doctor = {.cli = cli};
    log_setup("doctor", LOG_TEXT, LOG_ERROR);
    for (size_t i = 0; i < LH_COUNT(parts) && !interrupt_seen(); i++)
        parts[i](&doctor);
    enum rc rc = doctor.worst;
    if (interrupt_seen())
        rc = error_set(err, RC_INTERRUPTED, "interrupted");
    else if (rc != RC_OK)
        (void)error_set(err, rc, "%d failed, %d warn, %d are ok", doctor.count[FINDING_FAIL],
                        doctor.count[FINDING_WARN], doctor.count[FINDING_OK]);
    doctor_finish(&doctor);
    return rc;
}
