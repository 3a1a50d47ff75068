/* clock.c: time. */
#include "base/clock.h"

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

int64_t clock_mono_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_inject(int64_t (*now_ms)(void)) {
    injected = now_ms;
}

/* Writes the number's last digits at `to`. */
static void put_digits(char *to, unsigned digits, int number) {
    while (digits-- > 0) {
        to[digits] = (char)('0' + number % 10);
        number /= 10;
    }
}

void clock_to_text(int64_t at_ms, char ret[CLOCK_TEXT_CAP]) {
    static __thread int64_t last_day = -1; /* whose date stands in `date` */
    static __thread char date[] = "0000-00-00T";
    at_ms = at_ms > 0 ? at_ms : 0;
    int64_t day = at_ms / 86400000;
    int ms = (int)(at_ms % 86400000);
    if (day != last_day) {
        time_t seconds = (time_t)(day * 86400);
        struct tm tm;
        gmtime_r(&seconds, &tm);
        put_digits(date, 4, tm.tm_year + 1900);
        put_digits(date + 5, 2, tm.tm_mon + 1);
        put_digits(date + 8, 2, tm.tm_mday);
        last_day = day;
    }
    memcpy(ret, date, sizeof date - 1);
    memcpy(ret + 11, "00:00:00.000Z", sizeof "00:00:00.000Z");
    put_digits(ret + 11, 2, ms / 3600000);
    put_digits(ret + 14, 2, ms / 60000 % 60);
    put_digits(ret + 17, 2, ms / 1000 % 60);
    put_digits(ret + 20, 3, ms % 1000);
}

/* True where `text` is as `form`, in which a 0 stands for any digit. */
static bool has_form(const char *text, const char *form) {
    for (; *form; text++, form++)
        if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
            return false;
    return *text == '\0';
}

static int digits(const char *text, unsigned n) {
    int number = 0;
    for (unsigned i = 0; i < n; i++)
        number = number * 10 + (text[i] - '0');
    return number;
}

bool clock_from_text(const char *text, int64_t *ret_ms) {
    if (!has_form(text, "0000-00-00T00:00:00Z") && !has_form(text, "0000-00-00T00:00:00.000Z"))
        return false;
    struct tm tm = {.tm_year = digits(text, 4) - 1900,
                    .tm_mon = digits(text + 5, 2) - 1,
                    .tm_mday = digits(text + 8, 2),
                    .tm_hour = digits(text + 11, 2),
                    .tm_min = digits(text + 14, 2),
                    .tm_sec = digits(text + 17, 2)};
    int ms = text[19] == '.' ? digits(text + 20, 3) : 0;
    struct tm asked = tm;
    time_t seconds = timegm(&tm); /* carries what is out of range into the next field */
    if (tm.tm_mon != asked.tm_mon || tm.tm_mday != asked.tm_mday || tm.tm_hour != asked.tm_hour ||
        tm.tm_min != asked.tm_min || tm.tm_sec != asked.tm_sec)
        return false;
    *ret_ms = (int64_t)seconds * 1000 + ms;
    return true;
}
