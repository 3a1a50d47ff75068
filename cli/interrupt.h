/* interrupt.h: Ctrl-C, SIGTERM and SIGHUP end what the program does in good order.
 *
 * The first one is noted and wakes who waits; a second one ends the program at once.
 */
#ifndef LH_CLI_INTERRUPT_H
#define LH_CLI_INTERRUPT_H

#include <stdbool.h>

/* Takes the signals over. */
void interrupt_init(void);

/* Whether one has come. */
bool interrupt_seen(void);

/* A descriptor that is readable from then on, for loops; -1: there is none. */
int interrupt_fd(void);

#endif
