/* top.h: what longhaul top knows, and how it is drawn. */
#ifndef LH_CLI_TOP_H
#define LH_CLI_TOP_H

#include "cli/cli.h"
#include "cli/top_screen.h"

enum { TOP_EVENTS = 5 };

/* One of the two questions. */
struct question {
    struct top *top;
    struct client_call *call;
    struct answer answer; /* the last one */
};

/* What a service had ended by when it was last looked at. */
struct ended {
    char *service;
    int64_t finished, failed;
};

struct top {
    const struct cli *cli;
    int64_t interval_ms;
    bool quit;
    struct question services, tasks;
    struct ended *before; /* of the last frame, in the answer's order */
    size_t n_before;
    int64_t before_ms, shown_ms; /* when they were asked for; 0: never */
    char problem[560];           /* why there is no new answer */
    enum rc rc;
    struct top_screen screen;
    struct event *events[TOP_EVENTS];
    size_t n_events;
    struct event *next;
};

/* Draws a frame of the last answers. */
void top_draw(struct top *top);

/* Keeps what the frame shows, for the rates of the next one; and forgets it. */
void top_remember(struct top *top);
void top_forget(struct top *top);

/* A line for each service, for pipes. */
void top_print(const struct top *top);

#endif
