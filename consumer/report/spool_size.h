/* spool_size.h: how much lies in the folder of kept reports and output. */
#ifndef LH_CONSUMER_SPOOL_SIZE_H
#define LH_CONSUMER_SPOOL_SIZE_H

#include <stdint.h>

enum { SPOOL_SIZE_FILES = 10000 };

/* Bytes of the files in the folder and in the folders in it, of SPOOL_SIZE_FILES files at most. A
 * folder that does not exist is empty; NULL likewise. */
int64_t spool_size(const char *path);

#endif
