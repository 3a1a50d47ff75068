/* fuzz_config.c: any bytes as a configuration: a fault names its line; what is accepted is printed,
 * loads again, and prints the same. */
#include "base/mem.h"
#include "config/config.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char path[] = "/nonexistent/c.yaml";

static void print(const struct config *cfg, char **ret, size_t *ret_len) {
    FILE *to = open_memstream(ret, ret_len);
    assert(to);
    config_print(cfg, to);
    fclose(to);
}

static void again(const struct config *cfg) {
    LH_FREE char *text = NULL, *text_again = NULL;
    size_t len = 0, len_again = 0;
    print(cfg, &text, &len);
    struct config *same = NULL;
    struct error err;
    assert(config_parse(path, text, len, &same, &err) == RC_OK);
    print(same, &text_again, &len_again);
    assert(len == len_again && memcmp(text, text_again, len) == 0);
    config_destroy(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config *cfg = NULL;
    struct error err = {.text = ""};
    enum rc rc = config_parse(path, (const char *)data, size, &cfg, &err);
    if (rc != RC_OK) {
        assert(rc == RC_CONFIG && !cfg);
        assert(strncmp(err.text, path, sizeof path - 1) == 0);
        assert(err.text[sizeof path - 1] == ':');
        return 0;
    }
    again(cfg);
    config_destroy(cfg);
    return 0;
}
