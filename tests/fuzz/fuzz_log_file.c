/* fuzz_log_file.c: any bytes as the file of a stream that another process has left. */
#include "consumer/report/log_file.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const struct log_file *file) {
    char bytes[4096];
    struct log_piece piece;
    struct error err;
    int64_t at = file->base;
    for (int i = 0; i < 1000 && at < file->end; i++) {
        if (log_file_read(file, at, bytes, sizeof bytes, &piece, &err) != RC_OK)
            return;
        if (piece.at < at || piece.len > sizeof bytes || (piece.len == 0 && piece.skipped == 0))
            abort();
        at = piece.at + (int64_t)piece.len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("log", MFD_CLOEXEC);
    struct log_file file;
    struct error err;
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    if (log_file_open(fd, &file, &err) != RC_OK)
        return 0;
    if (file.end < file.base || file.stream >= RUN_STREAMS)
        abort();
    read_all(&file);
    log_file_finish(&file);
    return 0;
}
