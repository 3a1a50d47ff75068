/* bench_warm.c: a module that stays and does nothing: it answers each task line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    static const char before[] = "\"task_id\":\"";
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        const char *id = strstr(line, before);
        if (!id)
            return 1;
        id += sizeof before - 1;
        dprintf(3, "{\"task_id\":\"%.*s\",\"result\":null}\n", (int)strcspn(id, "\""), id);
    }
    free(line);
    return 0;
}
