/* manual.c: text made safe for man(7). */
#include "config/manual.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Of the pages' words: it does not change with the day of the build. */
static const char date[] = "2026-11-30";

/* One piece of a line; `code` says whether it is between back quotes, and is kept up to date. */
static void put(FILE *to, const char *text, size_t len, bool *code) {
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_char(text + i, len - i);
        n = n ? n : 1;
        if (text[i] == '`' && code) {
            *code = !*code;
            fputs(*code ? "\\fB" : "\\fR", to);
        } else if (text[i] == '\\') {
            fputs("\\e", to);
        } else if (text[i] == '-') {
            fputs("\\-", to);
        } else if (text[i] == '\'') {
            fputs("\\(aq", to);
        } else if (n > 1) {
            fprintf(to, "\\[u%04X]", utf8_code(text + i, n));
        } else {
            fputc(text[i], to);
        }
    }
}

static void put_line(FILE *to, const char *text, size_t len, bool *code) {
    if (len > 0 && text[0] == '.')
        fputs("\\&", to);
    put(to, text, len, code);
    fputc('\n', to);
}

/* Within a macro's argument, which quotes end. */
static void put_argument(FILE *to, const char *text) {
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"')
            fputs("\\(dq", to);
        else
            put(to, text, 1, NULL);
    }
    fputc('"', to);
}

void manual_begin(FILE *to, const char *name, int section, const char *summary) {
    fputs(".TH ", to);
    for (const char *c = name; *c; c++)
        put(to, (char[]){*c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c}, 1, NULL);
    fprintf(to, " %d %s \"longhaul " LH_VERSION "\" \"longhaul\"\n.SH NAME\n", section, date);
    put(to, name, strlen(name), NULL);
    fputs(" \\- ", to);
    put_line(to, summary, strlen(summary), NULL);
}

/* Right behind a title a paragraph needs no macro, and man(7) wants none. Pages are printed one at
 * a time. */
static bool behind_title;

static void begin_paragraph(FILE *to) {
    if (!behind_title)
        fputs(".PP\n", to);
    behind_title = false;
}

void manual_section(FILE *to, const char *title) {
    behind_title = true;
    fputs(".SH ", to);
    put_argument(to, title);
    fputc('\n', to);
}

void manual_subsection(FILE *to, const char *title) {
    behind_title = true;
    fputs(".SS ", to);
    put_argument(to, title);
    fputc('\n', to);
}

/* Where the lines of a text are. */
struct place {
    bool example, fenced, code, begun;
};

static void set_example(FILE *to, struct place *place, bool example) {
    if (place->example && !example)
        fputs(".RE\n.fi\n", to);
    if (example != place->example || !place->begun)
        begin_paragraph(to);
    if (example && !place->example)
        fputs(".nf\n.RS\n", to);
    place->example = example;
    place->begun = true;
}

static void take_line(FILE *to, struct place *place, const char *line, size_t len) {
    bool fence = len >= 3 && strncmp(line, "```", 3) == 0;
    if (fence) {
        place->fenced = !place->fenced;
        return;
    }
    if (len == 0 && !place->example) {
        place->begun = false;
        return;
    }
    bool indented = len > 2 && strncmp(line, "  ", 2) == 0;
    if (len == 0 && !place->fenced)
        return;
    set_example(to, place, place->fenced || indented);
    size_t skip = indented ? 2 : 0;
    put_line(to, line + skip, len - skip, place->example ? NULL : &place->code);
}

void manual_text(FILE *to, const char *text) {
    struct place place = {.begun = false};
    for (size_t len; *text; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        take_line(to, &place, text, len);
    }
    if (place.example)
        fputs(".RE\n.fi\n", to);
}

void manual_usage(FILE *to, const char *text) {
    size_t word = strcspn(text, " ");
    begin_paragraph(to);
    fputs("\\fB", to);
    put(to, text, word, NULL);
    fputs("\\fR", to);
    put_line(to, text + word, strlen(text + word), NULL);
}

void manual_item(FILE *to, const char *head, const char *text) {
    bool code = false;
    behind_title = false;
    fputs(".TP\n.B ", to);
    put_argument(to, head);
    fputc('\n', to);
    put_line(to, text, strlen(text), &code);
}

void manual_see_also(FILE *to, const struct manual_page *pages) {
    manual_section(to, "SEE ALSO");
    for (; pages->name; pages++) {
        fputs(".BR ", to);
        put(to, pages->name, strlen(pages->name), NULL);
        fprintf(to, " (%d)%s\n", pages->section, pages[1].name ? "," : "");
    }
}
