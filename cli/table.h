/* table.h: rows of text in aligned columns; the same on a terminal and in a pipe. */
#ifndef LH_CLI_TABLE_H
#define LH_CLI_TABLE_H

#include "base/json.h"

enum { TABLE_COLUMNS_MAX = 8 };

struct table {
    size_t n_columns;
    size_t width[TABLE_COLUMNS_MAX]; /* in characters */
    char **cells;                    /* row after row */
    size_t n_cells;
    enum rc rc; /* RC_NO_MEMORY once that happened */
};

/* The first row are the n headings. */
void table_init(struct table *table, const char *const *headings, size_t n);
void table_finish(struct table *table);

/* The next cell, left to right. */
void table_cell(struct table *table, const char *text, size_t len);

/* A member of an object as a cell: text without quotes, "-" for null or none, all else as JSON. The
 * last column is cut after 60 characters and shows text as JSON, so that it holds no control
 * characters. */
void table_member(struct table *table, struct json_span object, const char *name);

/* Writes all rows to stdout. */
enum rc table_print(const struct table *table, struct error *err) LH_MUST_USE;

#define LH_TABLE __attribute__((cleanup(table_finish))) struct table

#endif
