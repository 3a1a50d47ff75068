/* fuzz_spool.c: any bytes as a kept report: what is taken names a task and a run, and is taken
 * again. */
#include "base/mem.h"
#include "consumer/report/spool.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct spool_report report, again;
    struct error err = {.text = ""};
    struct json_span text = {(const char *)data, size};
    enum rc rc = spool_read(text, &report, &err);
    if (rc != RC_OK) {
        assert(rc == RC_INVALID_PARAMETER && err.text[0]);
        return 0;
    }
    assert(report.task_id[0] && uuid_valid(report.run_id));
    assert(report.body.at == text.at && report.body.len == size);
    assert(spool_read(report.body, &again, &err) == RC_OK);
    assert(strcmp(again.run_id, report.run_id) == 0 && again.finished == report.finished);
    return 0;
}
