/* pause_service_task.c: POST /api/pause_service_task, resume_service_task: no task of a paused
 * service begins to run. */
#include "api/handlers/handlers.h"
#include "api/handlers/service_state.h"

static void set_paused(struct call *call, bool paused) {
    struct op *op;
    struct error err = {.text = ""};
    enum rc rc = service_state_op(call, &op, &err);
    if (rc != RC_OK) {
        call_reply_rc(call, rc, err.text);
        return;
    }
    op->service.paused = paused;
    op->service_parts = SERVICE_PAUSED;
    service_state_apply(call, op);
}

void handle_pause_service_task(struct call *call) {
    set_paused(call, true);
}

void handle_resume_service_task(struct call *call) {
    set_paused(call, false);
}
