/* service_state.h: what the routes that change the state of a service share. */
#ifndef LH_API_SERVICE_STATE_H
#define LH_API_SERVICE_STATE_H

#include "api/call/call.h"

/* An OP_SERVICE for the service that the call names; the caller owns *ret. */
enum rc service_state_op(const struct call *call, struct op **ret, struct error *err) LH_MUST_USE;

/* Makes the change durable and answers with what stands then. Takes the op. */
void service_state_apply(struct call *call, struct op *op);

/* Appends "paused" and "limits", JSON members without braces. */
void service_state_put(struct buf *buf, const struct api *api, const char *name);

#endif
