/* bulk.h: tasks from lines of JSON, created in batches.
 *
 * Every task goes out with an idempotency key, so that a batch whose answer was lost is sent again
 * and the same lines may be given again after an error: nothing is created twice. The ids are
 * printed in the order of the lines; what is refused is said on stderr with its line and stops
 * nothing.
 */
#ifndef LH_CLI_BULK_H
#define LH_CLI_BULK_H

#include "cli/cli.h"

struct bulk_line {
    int64_t number; /* from 1 */
    struct json_span text;
    const json_t *root;
    const char *key; /* "KEY:NUMBER", a key for a line that names none */
};

/* Appends create_task's item for a line; nothing: the line is passed over. A refusal of the line is
 * RC_INVALID_PARAMETER. */
typedef enum rc bulk_read(const struct cli *cli, const struct bulk_line *line, struct buf *to,
                          struct error *err);

/* Reads --file or stdin. The outcome is that of the first line that was refused, or what ended it,
 * with the key to go on with. */
enum rc bulk_create(const struct cli *cli, bulk_read *read, struct error *err) LH_MUST_USE;

#endif
