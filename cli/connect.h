/* connect.h: where the API is and which token opens it. */
#ifndef LH_CLI_CONNECT_H
#define LH_CLI_CONNECT_H

#include "base/tls.h"
#include "cli/cli.h"
#include "config/config.h"

/* What is given on the command line or in the environment beats the configuration, which is read
 * only where something is missing or it was named. */

/* The configuration that was named, or that of this folder if there is one; else NULL. */
enum rc connection_config(const struct cli *cli, struct config **ret,
                          struct error *err) LH_MUST_USE;

/* What names the token: "--token", "AUTH_TOKEN" … */
const char *connection_token_from(const struct cli *cli);

/* The token; `cfg` may be NULL. NULL: none is given, and a certificate may stand for one.
 * RC_USAGE where there is neither. The caller's. */
enum rc connection_token(const struct cli *cli, const struct config *cfg, char **ret,
                         struct error *err) LH_MUST_USE;

/* The API's address; `cfg` may be NULL. Borrowed. */
const char *connection_url(const struct cli *cli, const struct config *cfg);

/* What an https address is checked by: LONGHAUL_CA, LONGHAUL_CERT and LONGHAUL_KEY name files and
 * beat api_tls; `cfg` may be NULL. Borrowed from both. */
struct tls_options connection_tls(const struct config *cfg);

/* Makes cli->client. */
enum rc connection_open(struct cli *cli, struct error *err) LH_MUST_USE;

#endif
