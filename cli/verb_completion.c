/* verb_completion.c: longhaul completion: what bash and zsh need to complete a command line. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* -- bash -- */

static const char bash_head[] =
    "# bash completion of longhaul(1), printed by 'longhaul completion bash'.\n"
    "\n"
    "_longhaul_verbs='";

/* Words of a kind: those that match what has been typed, one a line. */
static const char bash_kinds[] =
    "_longhaul_words() {\n"
    "    local kind=$1 current=$2\n"
    "    case $kind in\n"
    "    service) compgen -W \"$(\"$_longhaul_program\" services --patience 0 2>/dev/null |\n"
    "        cut -f1)\" -- \"$current\" ;;\n"
    "    task) \"$_longhaul_program\" list --patience 0 --size 50 --fields task_id \\\n"
    "        ${current:+--prefix \"$current\"} 2>/dev/null ;;\n"
    "    verb) compgen -W \"$_longhaul_verbs\" -- \"$current\" ;;\n"
    "    file) compgen -f -- \"$current\" ;;\n"
    "    none) ;;\n"
    "    *) compgen -W \"$kind\" -- \"$current\" ;;\n"
    "    esac\n"
    "}\n"
    "\n";

/* Finds the verb, then what stands before the cursor: an option's value, an option or an
 * argument. */
static const char bash_main[] =
    "_longhaul() {\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb='' i "
    "kind\n"
    "    _longhaul_program=${COMP_WORDS[0]}\n"
    "    [[ $current == = ]] && current=''\n"
    "    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}\n"
    "    [[ ${COMP_WORDS[COMP_CWORD]} == = ]] && before=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [[ \" $_longhaul_verbs \" == *\" ${COMP_WORDS[i]} \"* ]] && verb=${COMP_WORDS[i]} && "
    "break\n"
    "    done\n"
    "    kind=$(_longhaul_value \"$verb\" \"$before\")\n"
    "    if [[ -z $kind && $current == -* ]]; then\n"
    "        kind=$(_longhaul_options \"$verb\")\n"
    "    elif [[ -z $kind ]]; then\n"
    "        kind=$(_longhaul_arguments \"$verb\")\n"
    "    fi\n"
    "    mapfile -t COMPREPLY < <(_longhaul_words \"$kind\" \"$current\")\n"
    "    [[ $kind == file ]] && compopt -o filenames 2>/dev/null\n"
    "    return 0\n"
    "}\n"
    "\n"
    "complete -F _longhaul longhaul\n";

/* The word that _longhaul_words() knows a kind by. */
static const char *kind_word(enum complete complete, const char *words) {
    static const char *const kinds[] = {
        [COMPLETE_NONE] = "none", [COMPLETE_FILE] = "file", [COMPLETE_SERVICE] = "service",
        [COMPLETE_TASK] = "task", [COMPLETE_VERB] = "verb",
    };
    return complete == COMPLETE_WORDS ? words : kinds[complete];
}

static void bash_options(void) {
    puts("_longhaul_options() {\n    case $1 in");
    for (size_t i = 0; i < n_cli_verbs; i++) {
        printf("    %s) echo '", cli_verbs[i].name);
        for (int o = 0; o < OPTION_COUNT_; o++)
            if (cli_verb_options(&cli_verbs[i]) & OPTION_BIT(o))
                printf("--%s ", option_rows[o].name);
        puts("' ;;");
    }
    printf("    *) echo '");
    for (int o = 0; o < OPTION_COUNT_; o++)
        if (OPTIONS_COMMON & OPTION_BIT(o))
            printf("--%s ", option_rows[o].name);
    puts("--version' ;;\n    esac\n}\n");
}

static void bash_arguments(void) {
    puts("_longhaul_arguments() {\n    case $1 in\n    '') echo verb ;;");
    for (size_t i = 0; i < n_cli_verbs; i++)
        printf("    %s) echo '%s' ;;\n", cli_verbs[i].name,
               kind_word(cli_verbs[i].complete, cli_verbs[i].words));
    puts("    esac\n}\n");
}

/* Nothing where the word before the cursor is no option that takes a value. */
static void bash_values(void) {
    puts("_longhaul_value() {\n    case $1:$2 in");
    for (size_t i = 0; i < n_cli_verbs; i++)
        for (int o = 0; o < OPTION_COUNT_; o++)
            if ((cli_verb_options(&cli_verbs[i]) & OPTION_BIT(o)) && option_rows[o].argument)
                printf("    %s:--%s) echo '%s' ;;\n", cli_verbs[i].name, option_rows[o].name,
                       kind_word(option_rows[o].complete, option_rows[o].words));
    for (int o = 0; o < OPTION_COUNT_; o++)
        if ((OPTIONS_COMMON & OPTION_BIT(o)) && option_rows[o].argument)
            printf("    :--%s) echo '%s' ;;\n", option_rows[o].name,
                   kind_word(option_rows[o].complete, option_rows[o].words));
    puts("    esac\n}\n");
}

static void print_bash(void) {
    fputs(bash_head, stdout);
    for (size_t i = 0; i < n_cli_verbs; i++)
        printf("%s%s", i ? " " : "", cli_verbs[i].name);
    puts("'\n");
    fputs(bash_kinds, stdout);
    bash_options();
    bash_arguments();
    bash_values();
    fputs(bash_main, stdout);
}

/* -- zsh -- */

static const char zsh_head[] =
    "#compdef longhaul\n"
    "# zsh completion of longhaul(1), printed by 'longhaul completion zsh'.\n"
    "\n"
    "_longhaul_services() {\n"
    "    local -a names\n"
    "    names=(${(f)\"$(longhaul services --patience 0 2>/dev/null | cut -f1)\"})\n"
    "    compadd -a names\n"
    "}\n"
    "\n"
    "_longhaul_tasks() {\n"
    "    local -a ids given\n"
    "    [[ -n $PREFIX ]] && given=(--prefix $PREFIX)\n"
    "    ids=(${(f)\"$(longhaul list --patience 0 --size 50 --fields task_id $given "
    "2>/dev/null)\"})\n"
    "    compadd -a ids\n"
    "}\n"
    "\n"
    "_longhaul_verbs() {\n"
    "    local -a verbs=(\n";

/* Text inside single quotes within '[…]' of an option's specification. */
static void zsh_text(const char *text) {
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void zsh_action(enum complete complete, const char *words) {
    static const char *const actions[] = {
        [COMPLETE_NONE] = " ",
        [COMPLETE_FILE] = "_files",
        [COMPLETE_SERVICE] = "_longhaul_services",
        [COMPLETE_TASK] = "_longhaul_tasks",
        [COMPLETE_VERB] = "_longhaul_verbs",
    };
    if (complete == COMPLETE_WORDS)
        printf("(%s)", words);
    else
        fputs(actions[complete], stdout);
}

static void zsh_option(const struct option_row *row) {
    const char *many = row->repeat ? "*" : "";
    if (row->letter)
        printf(" \\\n            '%s-%c%s[", many, row->letter, row->argument ? "+" : "");
    for (int i = 0; i < (row->letter ? 2 : 1); i++) {
        if (i == 1 || !row->letter)
            printf(" \\\n            '%s--%s%s[", many, row->name, row->argument ? "=" : "");
        zsh_text(row->help);
        putchar(']');
        if (row->argument) {
            putchar(':');
            zsh_text(row->argument);
            putchar(':');
            zsh_action(row->complete, row->words);
        }
        putchar('\'');
    }
}

static void zsh_options(uint64_t mask) {
    for (int o = 0; o < OPTION_COUNT_; o++)
        if (mask & OPTION_BIT(o))
            zsh_option(&option_rows[o]);
}

static void zsh_verb(const struct cli_verb *verb) {
    printf("        %s)\n            _arguments -S", verb->name);
    zsh_options(cli_verb_options(verb));
    if (verb->max_args != 0) {
        printf(" \\\n            '%s:", verb->max_args < 0 || verb->max_args > 1 ? "*" : "1");
        zsh_text(verb->arguments);
        putchar(':');
        zsh_action(verb->complete, verb->words);
        putchar('\'');
    }
    puts(" ;;");
}

static void print_zsh(void) {
    fputs(zsh_head, stdout);
    for (size_t i = 0; i < n_cli_verbs; i++) {
        printf("        '%s:", cli_verbs[i].name);
        zsh_text(cli_verbs[i].summary);
        puts("'");
    }
    puts("    )\n    _describe verb verbs\n}\n\n_longhaul() {\n"
         "    local curcontext=$curcontext state line");
    fputs("    _arguments -C", stdout);
    zsh_options(OPTIONS_COMMON);
    puts(" \\\n            '--version[print the version and end]' \\\n"
         "            '1:verb:_longhaul_verbs' \\\n"
         "            '*::argument:->rest' && return 0\n"
         "    [[ $state == rest ]] || return 1\n"
         "    case $words[1] in");
    for (size_t i = 0; i < n_cli_verbs; i++)
        zsh_verb(&cli_verbs[i]);
    puts("    esac\n}\n\n_longhaul \"$@\"");
}

static const struct {
    const char *shell;
    void (*print)(void);
} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}};

enum rc verb_completion(const struct cli *cli, struct error *err) {
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].shell, cli->args[0]) == 0) {
            shells[i].print();
            return RC_OK;
        }
    return error_set(err, RC_USAGE, "completion: expected bash or zsh, found '%s'", cli->args[0]);
}
