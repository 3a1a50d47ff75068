/* ids.h: identifiers that are time-ordered (UUIDv7) and the bytes of an ObjectId. */
#ifndef LH_BASE_IDS_H
#define LH_BASE_IDS_H

#include <stdbool.h>
#include <stdint.h>

enum { UUID_CAP = 37, SERVICE_CAP = 65, TASK_ID_CAP = 3 + 64 + 1 + 36 + 1, OBJECT_ID_LEN = 12 };

/* A new UUIDv7 in lower-case text: 48 bits of clock_now_ms(), a counter that rises within one
 * process, 62 random bits. Any thread. */
void uuid_make(char ret[UUID_CAP]);

/* True for any UUID in its 36-character text form, upper or lower case. */
bool uuid_valid(const char *text);

/* "ts_<service>_<uuid>"; service has at most 64 characters. */
void task_id_make(const char *service, char ret[TASK_ID_CAP]);

/* A new ObjectId: 4 bytes seconds, 5 random per process, 3 counting. Any thread. */
void object_id_make(uint8_t ret[OBJECT_ID_LEN]);

/* Random bytes from the kernel through a per-thread pool. Any thread. */
void random_bytes(void *to, unsigned len);

#endif
