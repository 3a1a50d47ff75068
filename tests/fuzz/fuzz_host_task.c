/* fuzz_host_task.c: any bytes as the task line of a shared object: what is read is whole, and its
 * condition is JSON. */
#include "base/json.h"
#include "consumer/host/task.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct host_task task;
    struct error err = {0};
    enum rc rc = host_task_read((struct json_span){(const char *)data, size}, &task, &err);
    if (rc != RC_OK) {
        assert(rc == RC_INVALID_PARAMETER && err.text[0]);
        return 0;
    }
    const struct longhaul_task *read = &task.task;
    assert(read->size == sizeof *read && read->task_id && read->service && read->source_name &&
           read->run_id);
    assert(strlen(read->condition) == read->condition_len);
    LH_JSON condition = NULL;
    assert(json_read((struct json_span){read->condition, read->condition_len}, &condition, &err) ==
           RC_OK);
    host_task_finish(&task);
    return 0;
}
