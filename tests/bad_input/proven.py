"""Rows of RELIABILITY 2 that other tests prove, or that nothing here can: each with where, or why."""

from collections.abc import Mapping

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "B16": ("test_cuts.py::test_a_client_that_cuts_a_stream_at_any_byte_pays_exactly",),
    "B23": (
        "test_server.py::test_fields_we_do_not_know_reach_the_upstream",
        "test_strict_params.py::test_what_a_provider_cannot_take_is_dropped_and_named",
        "test_strict_params.py::test_strict_params_refuses_it_and_sends_nothing",
    ),
    "B25": ("test_server.py::test_a_model_this_key_may_not_use_is_unknown_to_it",),
    "B32": ("test_completions.py::test_the_bound_is_prompts_times_n_times_best_of",),
    "B38": (
        "test_records.py::test_names_that_callers_choose_are_cut",
        "plugins/test_muxer_prometheus.py::test_shows_no_series_that_nobody_declared",
    ),
    "B39": ("test_routing.py::test_the_error_says_why_nobody_is_left",),
    "B40": (
        "test_repeats.py::test_a_request_that_was_answered_is_not_charged_again",
        "test_repeats.py::test_the_same_key_for_another_body_is_a_mistake",
        "test_repeats.py::test_what_is_no_key_is_refused_before_anything_is_held",
    ),
    "B42": ("test_access.py::test_only_digests_of_keys_are_kept",),
    "B44": (
        "test_admin.py::test_a_revoked_key_is_refused_at_once_and_for_good",
        "test_admin.py::test_an_answer_under_way_outlives_its_key",
        "test_admin.py::test_a_key_ends_when_it_expires",
    ),
    "B46": ("test_pipeline.py::test_no_header_of_the_caller_reaches_the_upstream",),
    "B48": ("test_admin.py::test_what_is_no_key_is_refused_with_the_field",),
    "B50": ("test_pipeline.py::test_what_the_upstream_did_wrong_has_a_status_of_its_own",),
    "B51": (
        "test_pipeline.py::test_the_upstream_s_key_stays_out_of_every_answer",
        "test_server.py::test_a_key_that_the_upstream_quotes_stays_ours",
    ),
    "B52": (
        "test_pipeline.py::test_what_the_upstream_did_wrong_has_a_status_of_its_own",
        "wire/test_openai_chat.py::test_nonsense_is_a_bad_response_and_nothing_else",
    ),
    "B53": (
        "test_upstream.py::test_a_redirect_is_not_followed_and_the_key_not_sent_again",
        "test_upstream.py::test_a_success_of_another_kind_is_no_answer",
    ),
    "B54": (
        "test_upstream.py::test_an_answer_that_is_none_may_have_been_billed",
        "test_cuts.py::test_an_upstream_that_cuts_a_stream_at_any_byte_is_counted_once",
    ),
    "B55": (
        "test_upstream.py::test_an_answer_without_end_is_given_up",
        "test_upstream.py::test_compression_is_not_asked_for_and_our_versions_not_told",
    ),
    "B56": (
        "test_sse.py::test_a_whole_stream_is_read_as_the_standard_says",
        "test_sse.py::test_any_split_gives_the_same_events",
        "test_sse.py::test_an_endless_event_is_an_error_before_it_fills_the_memory",
    ),
    "B57": (
        "test_pipeline.py::test_what_comes_after_done_is_not_passed_on",
        "test_pipeline.py::test_a_stream_without_done_but_with_a_finish_is_complete",
        "test_pipeline.py::test_a_stream_whose_end_never_came_is_not_passed_off_as_complete",
        "wire/test_openai_chat.py::test_no_usage_breaks_an_answer_or_makes_less_than_nothing",
    ),
    "B58": ("test_pipeline.py::test_however_a_request_ends_nothing_is_held_and_all_accounts_agree",),
    "B60": (
        "test_chat_surface.py::test_parallel_tool_calls_come_back_whole_and_in_a_stream",
        "test_chat_surface.py::test_several_answers_with_log_probabilities_come_back_as_they_are",
    ),
    "B61": ("test_server.py::test_a_stream_ends_with_done_and_names_our_model_in_every_chunk",),
    "B62": ("test_pipeline.py::test_a_client_that_reads_nothing_counts_as_gone",),
    "B63": (
        "config/test_faults.py::test_a_file_that_is_no_yaml_is_refused_with_its_place",
        "config/test_faults.py::test_a_directory_and_a_missing_file_are_refused",
        "config/test_anything.py::test_any_yaml_like_text_loads_or_is_refused",
        "cli/test_serve.py::test_a_faulty_file_is_shown_with_its_places",
        "test_live.py::test_a_faulty_file_changes_nothing_and_is_told_with_its_lines",
    ),
    "B64": (
        "config/test_faults.py::test_a_wrong_section_is_refused_with_its_place",
        "config/test_faults.py::test_all_faults_are_told_at_once_and_in_order",
        "config/test_faults_of_models.py::test_every_cycle_is_told_along_its_way",
        "config/test_check.py::test_a_literal_secret_is_a_warning_and_with_strict_an_error",
    ),
    "B65": (
        "config/test_load.py::test_wrong_variables_are_named_and_their_values_are_not",
        "config/test_secret_files.py::test_a_file_that_cannot_be_used_is_a_fault_at_its_place",
        "config/test_secret_files.py::test_a_file_that_everybody_can_read_is_a_warning",
        "test_live.py::test_a_secret_in_a_file_is_taken_over_when_it_is_replaced",
    ),
    "B66": (
        "test_live.py::test_a_config_map_is_taken_over_when_its_link_is_swapped",
        "test_live.py::test_a_renamed_file_is_taken_over_once",
    ),
    "B67": (
        "test_live.py::test_a_stream_ends_by_the_configuration_it_began_with",
        "test_live.py::test_a_new_limit_a_new_key_and_a_dropped_key_are_in_force",
    ),
    "B68": (
        "test_plugins.py::test_a_plugin_that_breaks_is_a_fault_with_its_place",
        "test_guards.py::test_a_required_guard_that_fails_refuses_the_request",
        "test_guards.py::test_a_guard_that_fails_before_costs_its_effect_only",
    ),
    "B69": ("test_fence.py::test_after_five_failures_in_a_row_it_is_left_alone_for_a_while",),
    "B70": ("test_fence.py::test_a_signal_that_fails_measures_nothing",),
    "B71": ("test_guards.py::test_a_guard_sees_no_secret",),
    "B72": ("test_log.py::test_nothing_in_a_field_makes_a_second_line_or_a_bare_control_character",),
    "B73": ("plugins/test_muxer_prometheus.py::test_the_number_of_series_is_bounded",),
    "B74": (
        "test_openapi.py::test_the_page_runs_no_script_and_loads_nothing",
        "test_openapi.py::test_words_of_a_plugin_stand_as_text",
    ),
    "B75": ("faults/test_process_rows.py::test_fault_f19_a_clock_that_jumps_refuses_nobody_and_keeps_the_accounts",),
    "B76": (
        "plugins/test_muxer_sqlite_faults.py::test_a_full_disk_refuses_and_all_is_written_when_there_is_room",
        "plugins/test_muxer_jsonl.py::test_a_full_disk_leaves_no_half_a_line",
    ),
    "B77": ("test_embeddings.py::test_inputs_that_are_none_are_400",),
    "B78": ("test_completions.py::test_the_bound_is_prompts_times_n_times_best_of",),
}
"""By row: files under `tests/` and the tests in them."""

NOT_HERE: Mapping[str, str] = {
    "B9": "10,000 idle connections need more open files than a test may have; the bound is proven with few",
    "B42": "how long a look-up takes cannot be measured on a machine that does other things; the look-up is by digest",
    "B47": "failed logins are not counted by address: behind a balancer all callers have one",
}
"""By row: why it, or a part of it, is not proven."""
