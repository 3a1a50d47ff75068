/* table.c: cells are kept until all widths are known. */
#include "cli/table.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum { LAST_WIDTH = 60 };

void table_init(struct table *table, const char *const *headings, size_t n) {
    *table = (struct table){.n_columns = n};
    for (size_t i = 0; i < n; i++)
        table_cell(table, headings[i], strlen(headings[i]));
}

void table_finish(struct table *table) {
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
}

/* Characters of a text; a broken byte counts as one. */
static size_t characters(const char *text, size_t len) {
    size_t n = 0;
    for (size_t i = 0, step; i < len; i += step ? step : 1, n++)
        step = utf8_char(text + i, len - i);
    return n;
}

void table_cell(struct table *table, const char *text, size_t len) {
    char *cell = mem_dup(text, len);
    char **cells = reallocarray(table->cells, table->n_cells + 1, sizeof(*cells));
    if (cells)
        table->cells = cells;
    if (!cell || !cells) {
        free(cell);
        table->rc = RC_NO_MEMORY;
        return;
    }
    size_t column = table->n_cells % table->n_columns, width = characters(text, len);
    cells[table->n_cells++] = cell;
    if (width > table->width[column])
        table->width[column] = width;
}

/* The first characters, and "…" where there were more. */
static void cut_cell(struct table *table, struct json_span text) {
    size_t n = 0, i = 0;
    for (size_t step; i < text.len && n < LAST_WIDTH; i += step ? step : 1, n++)
        step = utf8_char(text.at + i, text.len - i);
    char cell[LAST_WIDTH * 4 + 4];
    int len = snprintf(cell, sizeof(cell), "%.*s%s", (int)i, text.at, i < text.len ? "…" : "");
    table_cell(table, cell, (size_t)len);
}

/* Text that needs no escapes: it can stand without its quotes. */
static bool simple(struct json_span json) {
    return json.len > 2 && json.at[0] == '"' && !memchr(json.at, '\\', json.len) &&
           !memchr(json.at, ' ', json.len);
}

void table_member(struct table *table, struct json_span object, const char *name) {
    struct json_span value;
    bool last = table->n_cells % table->n_columns == table->n_columns - 1;
    if (!json_span_member(object, name, &value) ||
        (value.len == 4 && memcmp(value.at, "null", 4) == 0))
        table_cell(table, "-", 1);
    else if (last)
        cut_cell(table, value);
    else if (simple(value))
        table_cell(table, value.at + 1, value.len - 2);
    else
        table_cell(table, value.at, value.len);
}

static void cell_print(const struct table *table, size_t i) {
    const char *cell = table->cells[i];
    size_t column = i % table->n_columns;
    if (column == table->n_columns - 1) {
        printf("%s\n", cell);
        return;
    }
    size_t pad = table->width[column] - characters(cell, strlen(cell)) + 2;
    printf("%s%*s", cell, (int)pad, "");
}

enum rc table_print(const struct table *table, struct error *err) {
    if (table->rc != RC_OK)
        return error_set(err, table->rc, "out of memory");
    for (size_t i = 0; i < table->n_cells; i++)
        cell_print(table, i);
    return RC_OK;
}
