/* table.h: rows of text: in aligned, coloured columns for people, else separated by tabs.
 *
 * A terminal gets headings, and its last column is cut to what fits. Elsewhere there are no
 * headings and nothing is cut: a line for each row, as programs want it.
 */
#ifndef LH_CLI_TABLE_H
#define LH_CLI_TABLE_H

#include "base/json.h"

enum { TABLE_COLUMNS_MAX = 24 };

struct table {
    size_t n_columns;
    size_t width[TABLE_COLUMNS_MAX]; /* in columns of a terminal */
    bool right[TABLE_COLUMNS_MAX];   /* numbers */
    char **cells;                    /* row after row, the headings first */
    size_t n_cells;
    enum rc rc; /* RC_NO_MEMORY once that happened */
};

/* n headings, at most TABLE_COLUMNS_MAX. */
void table_init(struct table *table, const char *const *headings, size_t n);
void table_finish(struct table *table);

/* The next cell, left to right. */
void table_cell(struct table *table, const char *text, size_t len);
void table_text(struct table *table, const char *text);

/* A member of an object as a cell: text without quotes, "-" for null or none, all else as JSON.
 * Text with blanks or escapes, a condition and a result stay JSON. */
void table_member(struct table *table, struct json_span object, const char *name);

/* Writes all rows to stdout and forgets them. */
enum rc table_print(struct table *table, struct error *err) LH_MUST_USE;

#define LH_TABLE __attribute__((cleanup(table_finish))) struct table

#endif
