/* service_names.h: a service that the API does not know, and the one that was meant. */
#ifndef LH_CLI_SERVICE_NAMES_H
#define LH_CLI_SERVICE_NAMES_H

#include "cli/cli.h"

/* Where rc is SERVICE_NOT_SUPPORT, names `service` in *err, and the one that was meant or those
 * that there are. Returns rc. */
enum rc service_names_hint(const struct cli *cli, const char *service, enum rc rc,
                           struct error *err) LH_MUST_USE;

/* RC_SERVICE_NOT_SUPPORT with the same words where the API has no service of that name. */
enum rc service_names_check(const struct cli *cli, const char *service,
                            struct error *err) LH_MUST_USE;

#endif
