/* leftovers.h: directories and cgroups of runs whose supervisors were killed together with their
 * consumers, and the processes that are still in such a cgroup. */
#ifndef LH_CONSUMER_LEFTOVERS_H
#define LH_CONSUMER_LEFTOVERS_H

/* Begins to remove them, in a thread of its own that ends with the process. Once. */
void leftovers_remove(void);

#endif
