/* handlers.h: one handler per route of the task API; the file, the function and the route share one
 * word. */
#ifndef LH_API_HANDLERS_H
#define LH_API_HANDLERS_H

#include "api/call/call.h"

void handle_create_task(struct call *call);
void handle_status_task(struct call *call);
void handle_update_status_task(struct call *call);
void handle_result_task(struct call *call);
void handle_tasks(struct call *call);
void handle_delete_task(struct call *call);
void handle_timeline_task(struct call *call);
void handle_start_task(struct call *call);
void handle_cancel_task(struct call *call);
void handle_update_task(struct call *call);
void handle_service_task(struct call *call);
void handle_history_task(struct call *call);
void handle_pause_service_task(struct call *call);
void handle_resume_service_task(struct call *call);
void handle_limit_service_task(struct call *call);
void handle_claim_task(struct call *call);
void handle_heartbeat_task(struct call *call);
void handle_log_task(struct call *call);
void handle_logs_task(struct call *call);
void handle_worker_task(struct call *call);
void handle_watch(struct call *call);

/* Before the body is parsed; false: it is not of the usual form, nothing has happened. */
bool plain_status_task(struct call *call);

/* Routes without a body; /metrics alone may need a token. */
void handle_healthz(struct api *api, struct http_req *req);
void handle_readyz(struct api *api, struct http_req *req);
void handle_openapi(struct api *api, struct http_req *req);
void handle_metrics(struct api *api, struct http_req *req);
void handle_dashboard(struct api *api, struct http_req *req);

#endif
