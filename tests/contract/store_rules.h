/* store_rules.h: the tests of the store contract, by file. */
#ifndef LH_TESTS_STORE_RULES_H
#define LH_TESTS_STORE_RULES_H

/* store_rules.c */
void test_every_op_in_every_state(void **state);
void test_unknown_task(void **state);
void test_whole_life(void **state);
void test_same_report_again(void **state);
void test_failure_and_start_over(void **state);
void test_start_over_clears_result(void **state);
void test_clock_set_back(void **state);
void test_batch_order(void **state);
void test_create_many(void **state);
void test_queue_has_room_again(void **state);
void test_take(void **state);
void test_takes_in_one_batch(void **state);

/* store_outbox.c */
void test_outbox_of_a_new_task(void **state);
void test_unsent_messages_are_counted(void **state);
void test_pick_is_compare_and_set(void **state);
void test_delivered(void **state);
void test_claim_overtakes_delivery(void **state);
void test_edit_writes_a_new_number(void **state);
void test_undeliverable(void **state);
void test_outbox_limit(void **state);
void test_large_messages_in_one_batch(void **state);

/* store_leases.c */
void test_lease_in_every_state(void **state);
void test_claims_and_leases(void **state);
void test_lease_asked_for(void **state);
void test_take_again(void **state);
void test_heartbeat(void **state);
void test_lapse_not_due(void **state);
void test_lost_too_often(void **state);
void test_lapse_writes_the_outbox(void **state);
void test_right_to_take_back_ends(void **state);
void test_hand_back_again(void **state);
void test_lapsed(void **state);
void test_workers(void **state);
void test_workers_of_tokens(void **state);
void test_heartbeats_in_one_batch(void **state);
void test_lapse_and_report_in_one_batch(void **state);
void test_leases_survive(void **state);

/* store_logs.c */
void test_log_append(void **state);
void test_log_overlap_and_gap(void **state);
void test_log_close(void **state);
void test_log_whose_run(void **state);
void test_log_of_each_attempt(void **state);
void test_log_ranges(void **state);
void test_log_cap(void **state);
void test_log_skipped(void **state);
void test_log_batch(void **state);
void test_log_random(void **state);
void test_log_survives(void **state);
void test_log_race(void **state);
/* store_services.c */
void test_service_state(void **state);
void test_paused_service(void **state);
void test_paused_outbox(void **state);
void test_refused_claim_rings_later(void **state);
void test_running_limit(void **state);
void test_takes_within_limits(void **state);
void test_limit_in_one_batch(void **state);
void test_limit_round_after_round(void **state);

/* store_fate.c */
void test_random_fates(void **state);
void test_a_run_never_comes_back(void **state);
void test_alarms(void **state);
void test_first_output(void **state);
void test_silent_run(void **state);
void test_best(void **state);
void test_told_again(void **state);
void test_take_goes_by_rank(void **state);
void test_idempotency_keys(void **state);
void test_idempotency_keys_in_one_batch(void **state);

/* store_reads.c */
void test_values_survive(void **state);
void test_large_values_survive(void **state);
void test_random_values_survive(void **state);
void test_by_id(void **state);
void test_parts_only_on_demand(void **state);
void test_cursor_at_a_removed_task(void **state);
void test_list_pages(void **state);
void test_list_filters(void **state);
void test_counts(void **state);
void test_ping(void **state);

/* store_list.c */
void test_cursors(void **state);
void test_cursor_of_a_page(void **state);
void test_cursor_stands_still(void **state);
void test_cursor_within_a_bulk(void **state);
void test_wrong_cursors(void **state);
void test_filters(void **state);
void test_filter_by_paused(void **state);
void test_filter_by_prefix(void **state);
void test_filter_by_tags(void **state);
void test_filter_by_services(void **state);
void test_list_values_on_demand(void **state);
void test_bounded_walk(void **state);
void test_frequent_prefix(void **state);

/* store_remove.c */
void test_remove(void **state);
void test_remove_in_every_status(void **state);
void test_remove_in_a_batch(void **state);
void test_tombstone_keeps_the_key(void **state);
void test_forget_in_steps(void **state);
void test_removed_survives_reopening(void **state);
void test_remove_by_two_processes(void **state);
void test_expired(void **state);

/* store_crash.c */
void test_reopen_keeps_everything(void **state);
void test_acknowledged_survives_kill(void **state);

/* The child of test_acknowledged_survives_kill: creates tasks and prints each id once it is stored.
 */
int crash_child(void);

/* store_race.c */
void test_64_claimers_of_1000_tasks(void **state);
void test_reads_beside_writes(void **state);

#endif
