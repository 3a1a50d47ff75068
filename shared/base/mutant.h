/* mutant.h: what the chaos tests need inside the programs. Test builds only (meson option
 * `mutants`): in any other build both macros are constants and leave nothing behind, not even their
 * names.
 *
 * A mutant is a rule of ours left out on purpose: the process that has its name in LONGHAUL_MUTANT
 * does without it, and the chaos checker has to notice. A fault point is a place between two steps
 * that must survive anything in between. The test arms one by a file of its name in
 * LONGHAUL_FAULT_DIR; the first process that passes takes the file away, notes in `hits` there that
 * it was here, and does what the file says: "kill", "stop" (SIGSTOP) or "delay MS".
 *
 * Any thread.
 */
#ifndef LH_BASE_MUTANT_H
#define LH_BASE_MUTANT_H

#include <stdbool.h>

#ifdef LH_MUTANTS
/* True where LONGHAUL_MUTANT, read once, is this name. */
bool mutant_is(const char *name);

/* Obeys and removes the file that arms this point, if there is one. `task_id` is noted. */
void fault_point(const char *point, const char *task_id);

#define LH_MUTANT(name) mutant_is(name)
#define LH_FAULT_POINT(point, task_id) fault_point(point, task_id)
#else
#define LH_MUTANT(name) false
#define LH_FAULT_POINT(point, task_id) ((void)(task_id))
#endif

#endif
