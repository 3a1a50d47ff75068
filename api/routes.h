/* routes.h: from a request to its handler, by one table. */
#ifndef LH_API_ROUTES_H
#define LH_API_ROUTES_H

#include "api/http.h"
#include "base/buf.h"

/* The server's handler; arg is the struct api. Checks method, token and body, then calls the
 * route's own. */
http_handler routes_handle;

/* Appends the members of the OpenAPI document's `paths`: every route with its description. */
void routes_put_paths(struct buf *to);

#endif
