/* table.c: cells are kept until all widths are known. */
#include "cli/table.h"

#include "base/mem.h"
#include "cli/terminal.h"
#include "cli/terminal_text.h"

#include <stdio.h>
#include <string.h>

enum { LAST_MIN_WIDTH = 20, GAP = 2 };

void table_init(struct table *table, const char *const *headings, size_t n) {
    *table = (struct table){.n_columns = n};
    for (size_t i = 0; i < n; i++)
        table_text(table, headings[i]);
}

void table_finish(struct table *table) {
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
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
    size_t column = table->n_cells % table->n_columns, width = terminal_text_width(cell, len);
    cells[table->n_cells++] = cell;
    if (width > table->width[column])
        table->width[column] = width;
}

void table_text(struct table *table, const char *text) {
    table_cell(table, text, strlen(text));
}

/* Text that needs no escapes: it can stand without its quotes. */
static bool simple(struct json_span json) {
    return json.len > 2 && json.at[0] == '"' && !memchr(json.at, '\\', json.len) &&
           !memchr(json.at, ' ', json.len);
}

/* Values that may be of any kind say by their quotes that they are text. */
static bool any_kind(const char *name) {
    return strcmp(name, "condition") == 0 || strcmp(name, "result") == 0;
}

void table_member(struct table *table, struct json_span object, const char *name) {
    struct json_span value;
    if (!json_span_member(object, name, &value) ||
        (value.len == 4 && memcmp(value.at, "null", 4) == 0))
        table_cell(table, "-", 1);
    else if (simple(value) && !any_kind(name))
        table_cell(table, value.at + 1, value.len - 2);
    else
        table_cell(table, value.at, value.len);
}

/* What is left of the terminal's width for the last column. */
static size_t last_width(const struct table *table) {
    int columns, rows;
    size_t before = 0;
    terminal_size(&columns, &rows);
    for (size_t i = 0; i + 1 < table->n_columns; i++)
        before += table->width[i] + GAP;
    size_t all = (size_t)columns;
    return all > before + LAST_MIN_WIDTH ? all - before : LAST_MIN_WIDTH;
}

/* The last column: cut, and "…" where there was more. */
static void print_last(const char *cell, size_t width) {
    size_t len = strlen(cell), fit = terminal_text_fit(cell, len, width);
    bool whole = fit == len;
    if (!whole)
        fit = terminal_text_fit(cell, len, width - 1);
    terminal_text_write(stdout, cell, fit, false);
    fputs(whole ? "\n" : "…\n", stdout);
}

static bool is_number(const char *cell) {
    return cell[0] >= '0' && cell[0] <= '9' && !cell[strspn(cell, "0123456789.")];
}

/* Columns of numbers stand to the right. */
static bool is_numeric(const struct table *table, size_t column) {
    bool any = false;
    for (size_t i = table->n_columns + column; i < table->n_cells; i += table->n_columns) {
        bool number = is_number(table->cells[i]);
        if (!number && strcmp(table->cells[i], "-") != 0)
            return false;
        any |= number;
    }
    return any;
}

static void print_cell(const struct table *table, size_t i, size_t last) {
    const char *cell = table->cells[i];
    size_t column = i % table->n_columns, len = strlen(cell);
    if (column == table->n_columns - 1) {
        print_last(cell, last);
        return;
    }
    int pad = (int)(table->width[column] - terminal_text_width(cell, len));
    bool right = table->right[column];
    const char *colour = terminal_colour() ? terminal_colour_of(cell) : NULL;
    printf("%*s%s", right ? pad : 0, "", colour ? colour : "");
    terminal_text_write(stdout, cell, len, false);
    printf("%s%*s", colour ? TERMINAL_PLAIN : "", right ? GAP : pad + GAP, "");
}

/* Broken only by values that are JSON, which escapes tabs and newlines. */
static void print_plain(const struct table *table) {
    for (size_t i = table->n_columns; i < table->n_cells; i++)
        printf("%s%c", table->cells[i], (i + 1) % table->n_columns ? '\t' : '\n');
}

static void forget_rows(struct table *table) {
    for (size_t i = table->n_columns; i < table->n_cells; i++)
        free(table->cells[i]);
    table->n_cells = table->n_columns;
}

enum rc table_print(struct table *table, struct error *err) {
    if (table->rc != RC_OK)
        return error_set(err, table->rc, "out of memory");
    if (!terminal_out()) {
        print_plain(table);
    } else {
        size_t last = last_width(table);
        for (size_t i = 0; i < table->n_columns; i++)
            table->right[i] = is_numeric(table, i);
        for (size_t i = 0; i < table->n_cells; i++)
            print_cell(table, i, last);
    }
    forget_rows(table);
    return terminal_flush(err);
}
