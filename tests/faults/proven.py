"""Rows of RELIABILITY 3 that other tests prove, or that no test here can: each with where, or why."""

from collections.abc import Mapping

REDIS, SQLITE = "plugins/test_muxer_redis", "plugins/test_muxer_sqlite"
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "F1": (
        "test_breakers.py::test_each_failure_has_its_own_pause",
        "test_dispatch.py::test_of_several_pauses_the_caller_is_told_the_shortest",
        "test_upstream.py::test_a_pause_in_seconds_is_taken_when_it_makes_sense",
        "test_upstream.py::test_no_pause_an_upstream_can_write_breaks_anything",
    ),
    "F2": (
        "test_breakers.py::test_five_failures_in_a_row_set_a_model_aside",
        "test_breakers.py::test_after_its_pause_one_request_tries_a_model_and_the_others_wait_for_its_end",
        "test_dispatch.py::test_a_fifth_of_the_requests_in_flight_may_repeat_and_always_three",
    ),
    "F3": (
        "test_upstream.py::test_a_refused_connection_was_never_billed",
        "test_upstream.py::test_an_address_that_leads_nowhere_was_never_billed",
        "test_dispatch.py::test_the_next_candidate_answers_when_the_first_cannot_be_reached",
        "test_connections.py::test_tls_is_checked_and_its_connections_are_kept",
    ),
    "F4": (
        "test_dispatch.py::test_the_next_candidate_answers_when_the_first_fails_before_a_byte",
        "test_dispatch.py::test_what_may_be_billed_or_wants_a_pause_is_not_asked_again",
        "test_dispatch.py::test_a_cut_is_repeated_where_the_file_takes_the_risk_and_each_try_is_held",
        "test_upstream.py::test_silence_ends_at_its_deadline_and_may_have_been_billed",
    ),
    "F5": (
        "test_cuts.py::test_an_upstream_that_cuts_a_stream_at_any_byte_is_counted_once",
        "test_dispatch.py::test_nobody_else_is_asked_once_a_stream_has_begun",
        "test_hedging.py::test_a_stream_that_won_comes_whole_with_its_usage",
    ),
    "F7": (
        f"{REDIS}_load.py::test_a_server_killed_for_ten_seconds_under_load_loses_nothing",
        "test_outage.py::test_allowed_requests_go_on_and_are_counted_after",
        "test_outage.py::test_escrow_is_spent_and_no_more",
        "test_outage.py::test_a_limit_that_refuses_sends_nothing_and_nothing_stays_held",
        "test_outage_processes.py::test_a_kill_in_an_outage_loses_and_doubles_nothing",
    ),
    "F8": (
        f"{REDIS}_load.py::test_a_server_that_hangs_delays_no_request_beyond_a_quarter_of_a_second",
        f"{REDIS}_faults.py::test_a_paused_server_delays_no_request_beyond_the_deadline",
        "test_outage_watch.py::test_it_is_given_up_after_some_failures_in_a_row_and_asked_now_and_then",
    ),
    "F9": (
        f"{REDIS}_load.py::test_ten_thousand_calls_with_lost_replies_are_counted_once_each",
        f"{REDIS}_faults.py::test_a_lost_reply_is_asked_for_again",
    ),
    "F10": (
        f"{REDIS}_faults.py::test_a_server_that_forgot_the_scripts_is_told_them",
        f"{REDIS}_faults.py::test_a_full_memory_refuses_holds_and_takes_settlements",
        f"{REDIS}_faults.py::test_a_replica_is_named_as_one",
        f"{REDIS}_faults.py::test_a_server_without_replicas_to_write_to_is_named",
        f"{REDIS}_faults.py::test_a_server_that_cannot_save_is_named",
        f"{REDIS}_faults.py::test_a_server_that_is_still_loading_is_named_and_used_when_it_is_done",
        f"{REDIS}_faults.py::test_a_cluster_is_named_where_none_was_expected",
        f"{REDIS}_failover.py::test_after_a_failover_the_new_master_is_told_what_it_may_lack",
        f"{REDIS}_failover.py::test_a_slot_that_is_elsewhere_is_named_where_no_cluster_was_expected",
    ),
    "F11": (
        f"{REDIS}_lost.py::test_what_was_flushed_is_told_again",
        f"{REDIS}_lost.py::test_a_restart_from_an_older_dump_is_told_what_came_after_it",
        f"{REDIS}_lost.py::test_nothing_is_admitted_before_every_replica_has_told",
        f"{REDIS}_lost.py::test_a_replica_that_does_not_tell_is_waited_for_five_seconds",
        "test_outage.py::test_a_server_that_lost_everything_is_told_again",
    ),
    "F12": (
        f"{REDIS}_faults.py::test_a_server_that_comes_to_drop_keys_is_noticed",
        f"{REDIS}_load.py::test_the_metric_says_that_the_store_must_not_take_holds",
    ),
    "F13": (
        f"{SQLITE}_faults.py::test_a_file_locked_by_another_process_refuses_and_goes_on",
        f"{SQLITE}_faults.py::test_only_so_much_waits",
        f"{SQLITE}_faults.py::test_the_log_stays_bounded_under_a_long_reader",
        f"{SQLITE}_proxy.py::test_a_locked_file_refuses_new_requests_and_loses_no_running_one",
    ),
    "F14": (
        f"{SQLITE}_faults.py::test_a_full_disk_refuses_and_all_is_written_when_there_is_room",
        f"{SQLITE}_faults.py::test_what_a_full_disk_left_open_is_presumed_by_the_next_start",
        f"{SQLITE}_faults.py::test_what_cannot_be_written_says_so_at_start",
        f"{SQLITE}_faults.py::test_a_damaged_page_ends_all_holding",
        f"{SQLITE}_faults.py::test_the_log_has_a_line_per_change_and_none_per_request",
        "test_journal.py::test_a_journal_that_cannot_be_written_says_so_and_owes_nothing",
    ),
    "F15": (
        "test_crash_points.py::test_killed_at_each_point_of_a_request_nothing_is_lost_or_counted_twice",
        "test_crash.py::test_after_a_kill_what_was_in_flight_is_interrupted_and_counted",
        "test_supervisor.py::test_a_killed_worker_is_replaced_and_its_slots_come_back",
    ),
    "F16": (
        f"{REDIS}_faults.py::test_a_replica_that_was_thought_dead_settles_exactly",
        "test_race.py::test_the_slots_of_a_killed_proxy_come_back_once",
    ),
    "F17": (
        "cli/test_serve.py::test_after_sigterm_it_serves_on_for_the_delay_without_being_ready",
        "test_stop.py::test_a_stream_that_the_end_cuts_has_one_last_event_and_is_settled",
        "test_crash.py::test_a_sigterm_lets_a_running_request_finish",
        "test_crash.py::test_a_second_sigterm_hastens_and_what_was_running_stays_counted",
    ),
    "F18": ("test_live.py::test_reloads_under_load_lose_no_request_and_leak_nothing",),
    "F21": ("test_drains.py::test_when_many_leave_at_once_all_is_billed_and_no_task_or_socket_of_them_stays",),
}
"""By row: files under `tests/`, or one of `make check-redis`, and the tests in them."""

IN_CHAOS: Mapping[str, str] = {
    "F15": "kills at random instants under many streams",
    "F20": "five times what can be served",
    "F22": "too few files for all callers",
    "F24": "many callers, with some of each fault for as long as is asked for",
}
"""By row: what `make chaos` does, since it takes long or measures time."""

NOT_HERE: Mapping[str, str] = {
    "F19": "windows by a server's own clock: the clock of a server cannot be set without that of the machine",
    "F22": "a process that the kernel kills for its memory is one killed at any instant, which is F15",
}
"""By row: why a part of it is not proven."""
