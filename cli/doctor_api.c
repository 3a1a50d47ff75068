/* doctor_api.c: what the API says of itself. */
#include "cli/doctor.h"

#include "base/clock.h"
#include "cli/connect.h"

#include <inttypes.h>
#include <string.h>

enum { APART_MS = 2000, SECOND_MS = 1000 };

static bool open_client(struct doctor *doctor) {
    struct error err = {.text = ""};
    const char *url = connection_url(doctor->cli, doctor->cfg);
    const struct tls_options tls = connection_tls(doctor->cfg);
    enum rc rc = client_create(url, &tls, doctor->token, 0, &doctor->client, &err);
    if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, rc, "api", "correct --url, LONGHAUL_URL or api_url", "%s",
                   err.text);
    return rc == RC_OK;
}

/* The API read its clock at some time between the question and its answer, and tells whole seconds.
 * 0: they agree. */
static int64_t clock_apart(int64_t date_at, int64_t asked_ms, int64_t now_ms) {
    if (asked_ms - date_at > APART_MS + SECOND_MS)
        return asked_ms - date_at;
    return date_at - now_ms > APART_MS ? now_ms - date_at : 0;
}

static void check_clock(struct doctor *doctor, int64_t date_at, int64_t asked_ms) {
    if (!date_at)
        return;
    int64_t apart_ms = clock_apart(date_at, asked_ms, clock_now_ms());
    if (apart_ms != 0)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "clock",
                   "set the clocks of all hosts by NTP: times of tasks and leases come from them",
                   "this host's clock is %" PRId64 " s %s the API's",
                   (apart_ms < 0 ? -apart_ms : apart_ms) / SECOND_MS,
                   apart_ms < 0 ? "behind" : "ahead of");
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "clock", NULL,
                   "this host's and the API's agree to the second");
}

static void check_reachable(struct doctor *doctor) {
    LH_ANSWER answer = {0};
    struct error err = {.text = ""};
    int64_t begin_ms = clock_mono_ms(), asked_ms = clock_now_ms();
    enum rc rc = client_get(doctor->client, "/healthz", &answer, &err);
    if (rc != RC_OK) {
        doctor_say(doctor, FINDING_FAIL, rc, "api",
                   "start longhaul-api, or correct --url, LONGHAUL_URL or api_url", "%s", err.text);
        return;
    }
    doctor->reachable = true;
    doctor_say(doctor, FINDING_OK, RC_OK, "api", NULL, "%s answers in %" PRId64 " ms",
               client_url(doctor->client), clock_mono_ms() - begin_ms);
    check_clock(doctor, answer.date_at, asked_ms);
}

static const char *ready_advice(enum rc rc) {
    switch (rc) {
    case RC_STORE_UNAVAILABLE:
        return "look after the store: SQLite's disk, or the MongoDB servers";
    case RC_BROKER_UNAVAILABLE:
        return "look after Kafka: tasks are kept meanwhile, and told when it is back";
    case RC_DRAINING:
        return "it is stopping: ask another one, or start it again";
    default:
        return "its log says more";
    }
}

static void check_ready(struct doctor *doctor) {
    LH_ANSWER answer = {0};
    struct error err = {.text = ""};
    enum rc rc = client_get(doctor->client, "/readyz", &answer, &err);
    if (rc == RC_OK)
        doctor_say(doctor, FINDING_OK, RC_OK, "ready", NULL,
                   "the API reaches its store and its broker");
    else
        doctor_say(doctor, FINDING_FAIL, rc, "ready", ready_advice(rc), "%s (%s)", err.text,
                   rc_info(rc)->word);
}

/* Asks; false: it was refused, and has been said. */
static bool ask(struct doctor *doctor, const char *path, const char *text, struct answer *ret) {
    LH_CLEANUP_BUF struct buf body;
    struct error err = {.text = ""};
    buf_init(&body, 256);
    buf_str(&body, text);
    enum rc rc = client_ask(doctor->client, path, &body, ret, &err);
    if (rc == RC_UNAUTHORIZED)
        doctor_say(doctor, FINDING_FAIL, rc, "token",
                   "it must be the API's AUTH_TOKEN, or one of its tokens",
                   "the API does not take it");
    else if (rc == RC_FORBIDDEN)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "token", "use a token that may read",
                   "the API takes it, but not for %s", path + 5);
    else if (rc_info(rc)->http == 429)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "api", "wait a second, and run it again",
                   "%s: %s", path + 5, err.text);
    else if (rc != RC_OK)
        doctor_say(doctor, FINDING_FAIL, rc, "api", "its log says more", "%s: %s (%s)", path + 5,
                   err.text, rc_info(rc)->word);
    return rc == RC_OK;
}

static bool in_list(const json_t *rows, const char *member, const char *name) {
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        const char *text = json_string_value(json_object_get(row, member));
        if (text && strcmp(text, name) == 0)
            return true;
    }
    return false;
}

/* A configuration of this host that names what the API has not got is another's. */
static void check_services(struct doctor *doctor, const json_t *rows) {
    const struct config *cfg = doctor->cfg;
    for (size_t i = 0; cfg && i < cfg->n_services; i++)
        if (!in_list(rows, "service", cfg->services[i].name))
            doctor_say(
                doctor, FINDING_WARN, RC_WARNING, "services",
                "let both have the same services, restart what has the older ones, or use a token "
                "that is for it",
                "%s is in %s, but the API shows this token no such service", cfg->services[i].name,
                cfg->file);
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "service"));
        if (json_is_true(json_object_get(row, "paused")))
            doctor_say(doctor, FINDING_WARN, RC_WARNING, "services", "longhaul resume SERVICE",
                       "%s is paused", name);
    }
}

static bool wants_consumer(const struct config *cfg, const char *name) {
    const struct config_service *service = cfg ? config_service(cfg, name) : NULL;
    return !cfg || (service && service->module);
}

static void check_consumers(struct doctor *doctor, const json_t *rows) {
    size_t i, lonely = 0;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "service"));
        if (!name || !wants_consumer(doctor->cfg, name) ||
            json_integer_value(json_object_get(row, "workers")) > 0)
            continue;
        lonely++;
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "consumers",
                   "start longhaul-consumer with a module for it",
                   "no consumer of %s has been heard of in the last minute", name);
    }
    if (!lonely)
        doctor_say(doctor, FINDING_OK, RC_OK, "consumers", NULL,
                   "every service with a module has one");
}

void doctor_api(struct doctor *doctor) {
    LH_ANSWER answer = {0};
    if (!open_client(doctor))
        return;
    check_reachable(doctor);
    if (!doctor->reachable)
        return;
    check_ready(doctor);
    if (!doctor->may_ask ||
        !ask(doctor, "/api/service_task", "{\"data\":{\"detail\":true}}", &answer))
        return;
    const json_t *rows = json_object_get(answer.root, "data");
    check_services(doctor, rows);
    check_consumers(doctor, rows);
}
