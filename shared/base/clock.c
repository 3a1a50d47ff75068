/* clock.c: time. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t (*injected)(void);

int64_t clock_now_ms(void) {
    return injected ? injected() : read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void) {
    return read_clock(CLOCK_BOOTTIME);
}

void clock_inject(int64_t (*now_ms)(void)) {
    injected = now_ms;
}

void clock_to_text(int64_t at_ms, char ret[CLOCK_TEXT_CAP]) {
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t len = strftime(ret, CLOCK_TEXT_CAP, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret + len, CLOCK_TEXT_CAP - len, ".%03dZ", (int)(at_ms % 1000));
}

bool clock_from_text(const char *text, int64_t *ret_ms) {
    struct tm tm = {0};
    int ms = 0, used = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &used) != 6 ||
        used != 19)
        return false;
    text += used;
    if (*text == '.') {
        if (sscanf(text, ".%3d%n", &ms, &used) != 1 || used != 4)
            return false;
        text += used;
    }
    if (strcmp(text, "Z") != 0)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    struct tm asked = tm;
    time_t seconds = timegm(&tm);
    if (tm.tm_mday != asked.tm_mday || tm.tm_mon != asked.tm_mon || tm.tm_hour != asked.tm_hour)
        return false;
    *ret_ms = (int64_t)seconds * 1000 + ms;
    return true;
}
