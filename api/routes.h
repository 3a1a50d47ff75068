/* routes.h: from a request to its handler, by one table. */
#ifndef LH_API_ROUTES_H
#define LH_API_ROUTES_H

#include "api/http/http.h"
#include "base/buf.h"

/* The server's handler; arg is the struct api. Checks method, token and body, then calls the
 * route's own. */
http_handler routes_handle;

/* Appends the members of the OpenAPI document's `paths`: every route with its description. */
void routes_put_paths(struct buf *to);

/* The names of all routes, for counting: those of the table, and what is none of them. The place of
 * each is what http_req_set_route() is told; the last one is that of requests which never reached a
 * route. Borrowed. */
const char *const *routes_names(size_t *ret_n);

#endif
