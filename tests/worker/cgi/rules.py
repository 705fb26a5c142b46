"""Where each rule of protocols.md §4 and §5 and of subrequests.md §7.7 is tested: the rule in short, its tests as FILE: NAMES."""

from __future__ import annotations

# Files by a short name, below tests/.
FILES = {
    "closing": "worker/upstream/test_closing_protocols.py",
    "fastcgi": "worker/upstream/test_fastcgi.py",
    "head": "worker/cgi/test_cgi_head.py",
    "like nginx": "worker/upstream/test_cgi_like_nginx.py",
    "memcached": "worker/upstream/test_memcached.py",
    "php": "applications/php/test_php.py",
    "records": "worker/fastcgi/test_fastcgi_records.py",
    "shipped": "wproxy/config/test_shipped_files.py",
    "tls": "worker/upstream/test_upstream_tls.py",
    "uwsgi": "applications/uwsgi/test_uwsgi.py",
}

SAME_PARAMETERS = "like nginx: test_the_same_parameters_are_sent"
SAME_RESPONSES = "like nginx: test_responses_are_passed_on_in_the_same_way"
SAME_SETTINGS = "like nginx: test_settings_have_the_same_effect"

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "4 records": {
        "BEGIN with KEEP_CONN, PARAMS in one record, padded to 8": (
            "records: test_the_records_before_a_body test_lengths_of_a_parameter_have_one_byte_or_four",
            "records: test_parameters_have_to_fit_into_one_record",
            "fastcgi: test_parameters_that_do_not_fit_are_a_500",
        ),
        "STDIN in records of 32 KB, an empty one ends": (
            "records: test_a_body_is_cut_into_records_and_an_empty_piece_is_none",
            "fastcgi: test_bodies_go_up_from_memory_from_a_file_and_as_they_come",
        ),
        "STDOUT, STDERR, END may be split anywhere": (
            "records: test_an_answer_is_read_in_pieces_of_any_size test_garbage_is_refused_or_read_and_nothing_else",
            "fastcgi: test_records_may_come_in_pieces",
        ),
        "other types, versions and ids are errors": (
            "records: test_what_is_no_record_is_refused_in_nginx_s_words",
            "like nginx: test_records_are_read_in_the_same_way",
        ),
    },
    "4 parameters": {
        "if_not_empty, inheritance, empty HTTP_X, HTTP_HOST, fields joined, CONTENT fields twice": (
            SAME_PARAMETERS,
            "fastcgi: test_a_request_without_a_body_and_a_connection_for_it_alone",
        ),
        "pass_request_headers, pass_request_body": ("like nginx: test_what_is_not_passed_on_is_not",),
        "they are those of each request": (
            "fastcgi: test_parameters_follow_the_request_line_and_the_header_block",
            "fastcgi: test_a_repeated_request_has_the_parameters_of_its_own_way",
            "fastcgi: test_chunked_bodies_of_different_lengths_are_told_apart",
        ),
        "fastcgi_index, split_path_info": ("like nginx: test_script_name_and_path_info",),
        "fastcgi_params and fastcgi.conf": (
            "shipped: test_parameters_are_those_of_nginx test_what_a_drop_in_includes_is_found",
            "php: test_a_program_sees_the_same_of_every_request",
        ),
    },
    "4 answers": {
        "Status, else Location is 302, else 200; no local redirect": (
            "head: test_a_head_is_read_at_any_cut test_a_bad_head_is_refused",
            SAME_RESPONSES,
            "php: test_statuses_fields_and_cookies",
        ),
        "Content-Length shorter: cut and warned of; longer: an error": (
            "fastcgi: test_an_output_longer_than_announced_is_cut test_an_output_shorter_than_announced_cuts_the_client",
        ),
        "no body for HEAD, 204, 304": ("fastcgi: test_answers_without_a_body_have_none test_the_answer_to_a_head_is_a_head",),
        "STDERR to the error log, catch_stderr": (
            "like nginx: test_records_are_read_in_the_same_way",
            "fastcgi: test_a_message_that_is_caught_is_named_when_there_is_no_other_server",
            "php: test_messages_reach_the_error_log",
        ),
        "keep_conn: reusable if END was the last byte": (
            "fastcgi: test_a_connection_is_kept_if_that_is_configured test_a_connection_with_bytes_after_the_end_is_not_kept",
            "fastcgi: test_a_kept_connection_that_has_died_is_replaced_and_blames_nobody",
            "fastcgi: test_a_kept_connection_has_to_end_its_answer",
        ),
        "a body of unknown length is buffered": ("php: test_a_body_arrives_whole",),
        "flush passes at once": ("fastcgi: test_output_is_passed_on_as_it_is_flushed", "php: test_what_is_flushed_comes_at_once"),
        "buffering, timeouts, next_upstream, intercept_errors, X-Accel as proxy": (
            SAME_SETTINGS,
            "fastcgi: test_a_slow_client_does_not_hold_the_server test_another_server_is_asked_after_a_failure",
            "fastcgi: test_timers_are_told_by_the_names_of_its_directives test_filters_change_what_it_says",
            "fastcgi: test_a_target_may_be_computed test_the_length_in_the_log_is_that_of_the_answer_as_it_came",
            "fastcgi: test_a_health_check_asks_with_the_parameters_of_its_location",
            "php: test_a_file_is_sent_in_place_of_a_program_s_answer test_pages_of_ours_take_the_place_of_errors",
        ),
    },
    "5 uwsgi": {
        "modifiers, size, variables, uwsgi_string, raw body": ("closing: test_a_uwsgi_packet", SAME_PARAMETERS),
        "more than 65535 bytes are a 500": ("closing: test_a_request_that_is_too_big_for_uwsgi_is_a_500",),
        "suwsgi and uwsgi_ssl": (
            "tls: test_uwsgi_goes_over_tls_by_its_own_settings test_a_uwsgi_server_that_cannot_be_verified_is_a_502",
        ),
        "an answer is HTTP or CGI, ends with the connection, is never reused": (
            "like nginx: test_a_status_line_may_begin_an_answer",
            SAME_RESPONSES,
            "closing: test_an_answer_with_a_length_ends_there",
        ),
        "closed without an answer is a 502": ("closing: test_a_server_that_closes_without_an_answer_is_a_502",),
        "101 is a tunnel": ("closing: test_a_tunnel_may_begin test_an_unasked_tunnel_is_a_502",),
        "real applications": ("uwsgi: test_pages_sessions_and_redirects test_the_admin_of_django test_an_upload_arrives_whole",),
    },
    "5 SCGI": {
        "a netstring, CONTENT_LENGTH first": ("closing: test_an_scgi_request", SAME_PARAMETERS),
        "a body of unknown length is read first": (
            "closing: test_a_body_of_unknown_length_is_read_first test_a_body_of_known_length_may_be_streamed",
        ),
        "fields that Connection names end here": ("closing: test_fields_that_connection_names_end_here",),
    },
    "7.7 memcached": {
        "GET and HEAD, the key and its escapes, no key": (
            "like nginx: test_values_of_memcached",
            "memcached: test_only_get_and_head_are_known test_without_a_key_there_is_nothing_to_ask",
        ),
        "VALUE, END, and everything that is neither": (
            "like nginx: test_values_of_memcached",
            "memcached: test_an_answer_may_come_in_pieces test_a_value_that_breaks_off_cuts_the_client",
        ),
        "a wrong end leaves the 200 and ends the connection": ("memcached: test_a_wrong_end_only_ends_the_connection",),
        "not_found and invalid_response": ("memcached: test_the_other_server_is_asked_for_what_one_does_not_have",),
        "kept alive after END": ("memcached: test_a_connection_is_kept_after_values_and_after_none",),
        "unbuffered": ("memcached: test_big_values_are_moved_whole",),
    },
}
