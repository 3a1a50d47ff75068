/* doctor.h: what longhaul doctor finds, and who looks for it. */
#ifndef LH_CLI_DOCTOR_H
#define LH_CLI_DOCTOR_H

#include "cli/cli.h"
#include "config/config.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct doctor {
    const struct cli *cli;
    struct config *cfg; /* NULL: there is none, or it is wrong */
    char *token;        /* NULL: there is none, or a certificate stands for it */
    bool may_ask;       /* there is one of the two */
    struct client *client;
    bool reachable; /* the API answers */
    enum rc worst;  /* of the first failure; RC_WARNING; RC_OK */
    int count[FINDING_FAIL + 1];
};

/* Prints a line: what was looked at, what was found and, unless all is well, what to do about it
 * (`advice`, may be NULL). rc: what a failure ends the program with. */
void doctor_say(struct doctor *doctor, enum finding finding, enum rc rc, const char *check,
                const char *advice, const char *format, ...) LH_PRINTF(6, 7);

/* The parts, each of which says what it finds. */
void doctor_api(struct doctor *doctor);    /* reachable, ready, token, services, clock, consumers */
void doctor_store(struct doctor *doctor);  /* the embedded store's folder, or who checks another */
void doctor_broker(struct doctor *doctor); /* brokers, topics, consumer groups */
void doctor_modules(struct doctor *doctor); /* commands and objects */
void doctor_folders(struct doctor *doctor); /* the consumer's */

#endif
