/* tmp.h: /tmp and /var/tmp of a process's own.
 *
 * They are folders on the disk, bound over the host's two in a mount namespace that begins with the
 * process and ends with the last one of its tree. What of the host's it has to find all the same is
 * bound back in at its place: the scratch directory, and one folder read-only.
 */
#ifndef LH_RUNNER_TMP_H
#define LH_RUNNER_TMP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { TMP_PLACES = 2, TMP_SHOWN = 2 };

struct tmp {
    const char *folder;                /* private; holds what becomes the places, as 0 and 1 */
    char places[TMP_PLACES][PATH_MAX]; /* "": the host does not have it, or it is the other one */
    struct tmp_shown {
        char path[PATH_MAX];
        char at[PATH_MAX]; /* in the folder */
        bool read_only;
    } shown[TMP_SHOWN];
    size_t n_shown;
};

/* Makes all that is needed in `folder`, an empty private directory that has to last as long as
 * *ret. What of `scratch` and `also` ("": none) lies in one of the places will be there, `also`
 * read-only. Returns 0 or an errno. */
int tmp_prepare(struct tmp *ret, const char *folder, const char *scratch, const char *also);

/* Gives them to this process, a new one, whose working directory changes. Needs CAP_SYS_ADMIN.
 * False with errno. Neither allocates nor locks. */
bool tmp_enter(const struct tmp *tmp);

#endif
