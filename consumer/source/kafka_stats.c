/* kafka_stats.c: how far behind a member's partitions are, of librdkafka's statistics.
 *
 * librdkafka asks the broker for the ends of partitions by itself while statistics are made, also
 * of those that are paused.
 */
#include "consumer/source/kafka.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>

static int64_t number(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

/* Where a partition stands of which nothing has been settled since it was assigned: what the group
 * had committed, else its first message. */
static int64_t begin_of(const json_t *said) {
    int64_t committed = number(said, "committed_offset");
    return committed >= 0 ? committed : number(said, "lo_offset");
}

static void take_part(struct kafka_part *part, const json_t *topics) {
    char partition[16];
    snprintf(partition, sizeof partition, "%d", (int)part->partition);
    const json_t *partitions = json_object_get(json_object_get(topics, part->topic), "partitions");
    const json_t *said = json_object_get(partitions, partition);
    int64_t end = number(said, "ls_offset");
    if (end < 0)
        end = number(said, "hi_offset");
    if (end >= 0)
        part->end = end;
    if (part->settled < 0)
        part->settled = begin_of(said);
}

void kafka_member_take_stats(struct kafka_member *member, const char *json, size_t len) {
    LH_JSON root = NULL;
    struct error err;
    struct kafka_part *part;
    if (json_read((struct json_span){json, len}, &root, &err) != RC_OK)
        return;
    LIST_FOREACH(part, &member->parts, next)
    take_part(part, json_object_get(root, "topics"));
}

void kafka_member_each_lag(const struct kafka_member *member, source_lag_each *each, void *arg) {
    const struct kafka_part *part;
    LIST_FOREACH(part, &member->parts, next) {
        if (part->end < 0 || part->settled < 0)
            continue;
        int64_t lag = part->end - part->settled;
        const struct source_lag told = {member->group, part->topic, part->partition,
                                        lag > 0 ? lag : 0};
        each(&told, arg);
    }
}
