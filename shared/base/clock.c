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

/* True where `text` is as `form`, in which a 0 stands for any digit. */
static bool has_form(const char *text, const char *form) {
    for (; *form; text++, form++)
        if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
            return false;
    return *text == '\0';
}

bool clock_from_text(const char *text, int64_t *ret_ms) {
    if (!has_form(text, "0000-00-00T00:00:00Z") && !has_form(text, "0000-00-00T00:00:00.000Z"))
        return false;
    struct tm tm = {0};
    int ms = 0;
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) < 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    struct tm asked = tm;
    time_t seconds = timegm(&tm); /* carries what is out of range into the next field */
    if (tm.tm_mon != asked.tm_mon || tm.tm_mday != asked.tm_mday || tm.tm_hour != asked.tm_hour ||
        tm.tm_min != asked.tm_min || tm.tm_sec != asked.tm_sec)
        return false;
    *ret_ms = (int64_t)seconds * 1000 + ms;
    return true;
}
