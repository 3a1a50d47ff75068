/* test_store.c: the contract of store.h, kept by every back end.
 *
 *     LONGHAUL_TEST_STORE      sqlite (default) or mongodb
 *     LONGHAUL_TEST_MONGO_URI  the server; without it the MongoDB run is skipped (77). The suite
 * makes a database of its own there and drops it LONGHAUL_TEST_SEED       repeats the random values
 * of a run
 */
#include "store_kit.h"
#include "store_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--crash-child") == 0)
        return crash_child();
    if (kit_is_mongodb() && !getenv("LONGHAUL_TEST_MONGO_URI")) {
        puts("skipped: LONGHAUL_TEST_MONGO_URI names no server");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_in_every_state),
        cmocka_unit_test(test_unknown_task),
        cmocka_unit_test(test_whole_life),
        cmocka_unit_test(test_same_report_again),
        cmocka_unit_test(test_failure_and_start_over),
        cmocka_unit_test(test_start_over_clears_result),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_batch_order),
        cmocka_unit_test(test_create_many),
        cmocka_unit_test(test_queue_has_room_again),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_takes_in_one_batch),
        cmocka_unit_test(test_outbox_of_a_new_task),
        cmocka_unit_test(test_unsent_messages_are_counted),
        cmocka_unit_test(test_pick_is_compare_and_set),
        cmocka_unit_test(test_delivered),
        cmocka_unit_test(test_claim_overtakes_delivery),
        cmocka_unit_test(test_edit_writes_a_new_number),
        cmocka_unit_test(test_undeliverable),
        cmocka_unit_test(test_outbox_limit),
        cmocka_unit_test(test_large_messages_in_one_batch),
        cmocka_unit_test(test_lease_in_every_state),
        cmocka_unit_test(test_claims_and_leases),
        cmocka_unit_test(test_lease_asked_for),
        cmocka_unit_test(test_take_again),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_lapse_not_due),
        cmocka_unit_test(test_lost_too_often),
        cmocka_unit_test(test_lapse_writes_the_outbox),
        cmocka_unit_test(test_right_to_take_back_ends),
        cmocka_unit_test(test_hand_back_again),
        cmocka_unit_test(test_lapsed),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_workers_of_tokens),
        cmocka_unit_test(test_heartbeats_in_one_batch),
        cmocka_unit_test(test_lapse_and_report_in_one_batch),
        cmocka_unit_test(test_leases_survive),
        cmocka_unit_test(test_random_fates),
        cmocka_unit_test(test_a_run_never_comes_back),
        cmocka_unit_test(test_alarms),
        cmocka_unit_test(test_first_output),
        cmocka_unit_test(test_silent_run),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_told_again),
        cmocka_unit_test(test_take_goes_by_rank),
        cmocka_unit_test(test_idempotency_keys),
        cmocka_unit_test(test_idempotency_keys_in_one_batch),
        cmocka_unit_test(test_log_append),
        cmocka_unit_test(test_log_overlap_and_gap),
        cmocka_unit_test(test_log_close),
        cmocka_unit_test(test_log_whose_run),
        cmocka_unit_test(test_log_of_each_attempt),
        cmocka_unit_test(test_log_ranges),
        cmocka_unit_test(test_log_cap),
        cmocka_unit_test(test_log_skipped),
        cmocka_unit_test(test_log_batch),
        cmocka_unit_test(test_log_random),
        cmocka_unit_test(test_log_survives),
        cmocka_unit_test(test_log_race),
        cmocka_unit_test(test_service_state),
        cmocka_unit_test(test_paused_service),
        cmocka_unit_test(test_paused_outbox),
        cmocka_unit_test(test_refused_claim_rings_later),
        cmocka_unit_test(test_running_limit),
        cmocka_unit_test(test_takes_within_limits),
        cmocka_unit_test(test_limit_in_one_batch),
        cmocka_unit_test(test_limit_round_after_round),
        cmocka_unit_test(test_values_survive),
        cmocka_unit_test(test_large_values_survive),
        cmocka_unit_test(test_random_values_survive),
        cmocka_unit_test(test_by_id),
        cmocka_unit_test(test_parts_only_on_demand),
        cmocka_unit_test(test_cursor_at_a_removed_task),
        cmocka_unit_test(test_list_pages),
        cmocka_unit_test(test_list_filters),
        cmocka_unit_test(test_cursors),
        cmocka_unit_test(test_cursor_of_a_page),
        cmocka_unit_test(test_cursor_stands_still),
        cmocka_unit_test(test_cursor_within_a_bulk),
        cmocka_unit_test(test_wrong_cursors),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_filter_by_paused),
        cmocka_unit_test(test_filter_by_prefix),
        cmocka_unit_test(test_filter_by_tags),
        cmocka_unit_test(test_filter_by_services),
        cmocka_unit_test(test_list_values_on_demand),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_remove_in_every_status),
        cmocka_unit_test(test_remove_in_a_batch),
        cmocka_unit_test(test_tombstone_keeps_the_key),
        cmocka_unit_test(test_forget_in_steps),
        cmocka_unit_test(test_removed_survives_reopening),
        cmocka_unit_test(test_remove_by_two_processes),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_64_claimers_of_1000_tasks),
        cmocka_unit_test(test_reads_beside_writes),
        cmocka_unit_test(test_reopen_keeps_everything),
        cmocka_unit_test(test_acknowledged_survives_kill),
        /* last: they leave many tasks */
        cmocka_unit_test(test_bounded_walk),
        cmocka_unit_test(test_frequent_prefix),
    };
    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
