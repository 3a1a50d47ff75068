/* audit.h: a line for every change that somebody asks for, and for every one that is forbidden.
 *
 * {"msg":"audit","token":…,"path":…,"task_id" or "service":…,"code":…,"request_id":…,"address":…};
 * a create of several tasks has one line with `count` stored and `refused` others. What runs say
 * (claims, reports, heartbeats, logs) is no change of this kind. The lines go to the log, or to a
 * file of their own. Loop thread only.
 */
#ifndef LH_API_AUDIT_H
#define LH_API_AUDIT_H

#include "api/call/call.h"

struct audit;

/* As the configuration wants it. *ret NULL: there is nothing to write. RC_IO: the file cannot be
 * opened. */
enum rc audit_create(const struct config *cfg, struct event_base *base, struct audit **ret,
                     struct error *err) LH_MUST_USE;

/* Opens the file anew, which may have been moved away; on failure goes on with the old one. */
enum rc audit_reopen(struct audit *audit, struct error *err) LH_MUST_USE;

void audit_destroy(struct audit *audit);

/* The op of a call has its outcome; ops that are no change are passed over. */
void audit_op(const struct call *call, const struct op *op);

/* The request asked for something that its token may not do. */
void audit_forbidden(const struct api *api, const struct http_req *req, const struct token *token,
                     const char *text);

/* The same of a call, or of one of its items: the first time. `task_id`: whose run it speaks for;
 * NULL: of none. */
void audit_call_forbidden(struct call *call, const char *task_id, const char *text);

#endif
