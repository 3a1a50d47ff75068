/* metrics.c: GET /metrics: what this process does and how the tasks stand, for Prometheus. */
#include "api/handlers/handlers.h"
#include "api/meter/scrape.h"

void handle_metrics(struct api *api, struct http_req *req) {
    scrape_begin(api, req);
}
