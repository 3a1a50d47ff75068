/* scrape.h: the page /metrics: what is counted, and what the store says when somebody asks.
 *
 * A scrape asks the store for its figures and waits for them SCRAPE_MS at most: where the store
 * does not answer, the page is told without them. Loop thread only.
 */
#ifndef LH_API_SCRAPE_H
#define LH_API_SCRAPE_H

#include "api/api.h"
#include "base/metrics.h"

/* Answers the request with the page. */
void scrape_begin(struct api *api, struct http_req *req);

/* The collectors of metrics_table.c; their arg is a struct scrape of scrape.c. */
metric_collect scrape_build_info, scrape_tasks, scrape_oldest_waiting, scrape_paused;
metric_collect scrape_workers, scrape_unsent, scrape_unsent_age, scrape_store_up, scrape_kafka_up;
metric_collect scrape_queue, scrape_connections, scrape_pending, scrape_status_cache;

#endif
