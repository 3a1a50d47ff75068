/* fuzz_message.c: any bytes as a message: what is decoded and encoded again decodes to the same. */
#include "base/mem.h"
#include "task/message.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct message *message) {
    struct task task = {.source_name = message->source_name,
                        .condition = message->condition,
                        .condition_len = message->condition_len};
    mem_copy_str(task.task_id, sizeof task.task_id, message->task_id);
    mem_copy_str(task.service, sizeof task.service, message->service);
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 24);
    message_encode(&task, &buf);
    assert(buf_rc(&buf) == RC_OK);
    struct message back;
    struct error err;
    assert(message_decode(buf.data, buf.len, &back, &err) == RC_OK);
    assert(strcmp(back.task_id, message->task_id) == 0);
    assert(strcmp(back.service, message->service) == 0);
    assert(strcmp(back.source_name, message->source_name) == 0);
    assert(back.condition_len == message->condition_len);
    assert(memcmp(back.condition, message->condition, back.condition_len) == 0);
    message_finish(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct message message;
    struct error err = {0};
    enum rc rc = message_decode((const char *)data, size, &message, &err);
    if (rc != RC_OK) {
        assert(rc == RC_INVALID_PARAMETER && err.text[0]);
        return 0;
    }
    again(&message);
    message_finish(&message);
    return 0;
}
