/* manual.h: manual pages in the man(7) language, from the same tables as everything else.
 *
 * Texts are those of the tables: sentences, `code` between back quotes, blank lines between
 * paragraphs; lines that begin with two blanks, or stand between lines of three back quotes, are
 * examples.
 */
#ifndef LH_CONFIG_MANUAL_H
#define LH_CONFIG_MANUAL_H

#include <stdio.h>

/* The head of a page: "longhaul", 1, "command line of the task queue". */
void manual_begin(FILE *to, const char *name, int section, const char *summary);

void manual_section(FILE *to, const char *title);
void manual_subsection(FILE *to, const char *title);

/* Paragraphs and examples. */
void manual_text(FILE *to, const char *text);

/* A usage line: "longhaul create [OPTION]... SERVICE". */
void manual_usage(FILE *to, const char *text);

/* A term and what it means; `head` may be all but `code`. */
void manual_item(FILE *to, const char *head, const char *text);

/* "longhaul-api", 8 and so on, ended by a NULL name. */
struct manual_page {
    const char *name;
    int section;
};
void manual_see_also(FILE *to, const struct manual_page *pages);

#endif
