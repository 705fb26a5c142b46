"""Where each rule of proxy.md §2 and §3 is tested: the rule in short, and its tests as FILE: NAMES.

tests/test_rule_tables.py asserts that all of them exist. Where wproxy does otherwise on purpose (design.md §3, http1-security.md), the
rule says so. §4 to §8 are in upstream/rules.py.
"""

from __future__ import annotations

# Files by a short name, below tests/.
FILES = {
    "accounts": "worker/test_proxy.py",
    "alike": "worker/upstream/test_answers_like_nginx.py",
    "answers": "worker/upstream/test_answers.py",
    "bodies": "worker/upstream/test_request_bodies.py",
    "buffering": "worker/test_buffering.py",
    "chunked": "worker/http1/test_chunked.py",
    "client": "worker/test_connection.py",
    "disk": "worker/test_temporary_files.py",
    "requests": "worker/test_request_strictness.py",
    "responses": "worker/test_response_strictness.py",
    "retries": "worker/upstream/test_retries_like_nginx.py",
    "routing": "worker/test_routing_like_nginx.py",
    "settings": "wproxy/directives/test_buffering_directives.py",
    "store": "worker/filters/test_store.py",
    "streams": "whole/test_whole_streams.py",
    "through filters": "worker/filters/test_streams_through_filters.py",
    "tunnel": "worker/test_tunnel.py",
    "websockets": "whole/test_whole_websockets.py",
    "whole": "whole/test_whole_bodies.py",
}

BAD_HEAD = "responses: test_a_bad_head_is_a_502_and_never_relayed"
UNUSUAL = "responses: test_an_unusual_head_is_written_anew"
EARLY = (
    "accounts: test_an_early_answer_ends_the_upload_and_its_connection test_an_early_answer_to_an_upload_that_stalls_at_the_upstream",
    "accounts: test_an_upstream_that_answers_and_closes_in_the_middle_of_an_upload",
    "bodies: test_an_early_answer_ends_the_sending_of_a_kept_body",
)

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "2 request body": {
        "buffered: all of it is read before anybody is asked": (
            "bodies: test_a_large_body_is_read_whole_before_anybody_is_asked",
            "accounts: test_no_peer_is_chosen_before_a_small_body_is_there",
        ),
        "up to client_body_buffer_size, or 1.25 of it when the length is known, in memory": (
            "bodies: test_a_body_that_fits_stays_in_memory",
        ),
        "else in a temporary file without a name, with a warning": (
            "bodies: test_a_large_body_is_read_whole_before_anybody_is_asked test_no_descriptor_is_left_of_bodies_in_files",
            "disk: test_a_file_that_is_open_has_no_name",
            "whole: test_a_worker_that_is_killed_leaves_no_file",
        ),
        "a disk that is full, a place that is not there: 500 and one line": (
            "bodies: test_a_full_disk_is_a_500_and_one_line test_a_place_that_cannot_be_had_is_a_500_and_one_line",
        ),
        "chunks become a length; trailers and extensions are dropped": (
            "bodies: test_trailers_and_extensions_of_a_client_do_not_reach_the_upstream",
            "bodies: test_every_body_arrives_as_it_was_however_it_is_cut",
            "requests: test_good_chunks_are_decoded_and_trailers_dropped",
        ),
        "off: the upstream is asked at once, and gets what comes": (
            "bodies: test_without_buffering_an_upstream_is_asked_at_once",
            "accounts: test_a_large_body_is_streamed_as_it_comes test_a_slow_upstream_holds_the_client_back",
        ),
        "off: in chunks anew; for an upstream of HTTP/1.0 it is buffered all the same": (
            "bodies: test_every_body_arrives_as_it_was_however_it_is_cut",
            "accounts: test_a_chunked_body_over_the_buffer_for_a_1_0_upstream_is_read_whole",
        ),
        "off: what came with the head counts as buffered": (
            "bodies: test_without_buffering_what_came_with_the_head_may_be_sent_again",
            "bodies: test_without_buffering_a_body_that_is_gone_is_not_sent_again",
        ),
        "client_body_timeout between two reads: 408, without a word": (
            "client: test_client_body_timeout_is_between_two_reads",
            "bodies: test_a_pause_in_a_kept_body_ends_without_a_word test_a_pause_ends_the_request_and_the_upstream_is_given_up",
        ),
        "a client that leaves in its body: 400 in the log": (
            "bodies: test_a_client_that_leaves_in_the_middle_of_a_kept_body_is_a_400_in_the_log",
            "bodies: test_a_client_that_leaves_is_a_400_and_the_upstream_is_given_up",
            "client: test_a_client_that_leaves_within_its_body_is_a_400",
            "accounts: test_an_interrupted_upload_is_not_a_complete_request",
        ),
        "client_max_body_size: 413 for a length at once; 0 is no limit": (
            "client: test_413_lingers_for_a_body_that_is_still_to_come test_client_max_body_size_of_0_is_no_limit",
        ),
        "client_max_body_size: for chunks when one is announced that leads beyond it": (
            "bodies: test_a_chunk_that_leads_beyond_the_limit_is_refused_when_it_is_announced",
            "client: test_413_for_a_chunked_body_once_it_is_too_large",
        ),
        "unbuffered: the upstream is given up, the client gets its 413": (
            "bodies: test_too_large_a_body_is_a_413_and_the_upstream_is_given_up",
        ),
        "Expect: 100-continue, in any case, is answered when the body is read, and not forwarded": (
            "bodies: test_who_waits_for_100_is_told_to_go_on",
            "requests: test_expect_continue_is_answered_and_not_forwarded",
            "accounts: test_expect_continue_of_a_large_body",
        ),
        "Expect: not when it was refused with 413": (
            "bodies: test_nobody_is_told_to_go_on_with_a_body_that_is_too_large",
            "client: test_413_without_100_continue",
        ),
        "Expect: who has sent the body already is not told to (wproxy, RFC 9110 10.1.1)": (
            "bodies: test_who_does_not_wait_for_100_keeps_the_connection",
        ),
        "Expect: other values, and clients of HTTP/1.0, mean nothing": (
            "alike: test_expectations_other_than_100_continue_and_those_of_http_1_0_mean_nothing",
        ),
        "an early answer ends the sending and is relayed; the connection is not kept": EARLY,
        "an upstream that leaves in the middle: error, 502 or another try": (
            "accounts: test_an_upstream_that_leaves_in_the_middle_of_an_upload_is_a_502",
            "bodies: test_a_kept_body_goes_to_another_peer",
        ),
        "proxy_send_timeout between progress: 504": ("accounts: test_proxy_send_timeout",),
        "proxy_method, proxy_set_body, proxy_pass_request_body": (
            "alike: test_methods_and_bodies_for_the_upstream_are_alike",
            "bodies: test_the_length_of_a_body_that_is_not_passed_is_not_passed",
        ),
        "lingering close": (
            "bodies: test_lingering_close_always_waits_for_the_client test_lingering_close_off_closes_at_once",
            "client: test_lingering_reads_and_forgets_until_the_client_closes test_lingering_has_its_timeouts",
        ),
        "any number of uploads and any size: little memory": (
            "whole: test_many_uploads_at_once_take_little_memory test_a_transfer_of_any_size_leaves_the_memory_flat",
        ),
    },
    "3.1 parsing": {
        "a head beyond proxy_buffer_size: 502": (
            "responses: test_a_head_of_exactly_proxy_buffer_size test_a_head_over_proxy_buffer_size",
        ),
        "a first line that is not HTTP: 502 and never relayed (wproxy)": (BAD_HEAD,),
        "bare LF, no reason, more spaces, 999 are accepted": (UNUSUAL,),
        "code 099, HTTP/2.0, a line without colon, a second status line: 502 (wproxy, http1-security.md §3)": (BAD_HEAD,),
        "HTTP/1.0 is accepted, chunked too, and never kept": (
            "responses: test_an_http_1_0_answer_or_one_that_says_close_is_not_reused test_an_http_1_0_answer_may_be_chunked",
        ),
        "fold, space or control in a name, NUL or CR in a value: 502, named in the log": (
            BAD_HEAD,
            "responses: test_the_log_names_what_was_wrong",
        ),
        "@ _ [ ] in names pass": (UNUSUAL,),
        "Content-Length twice, empty, negative, no number; Transfer-Encoding twice or unknown; both: 502": (BAD_HEAD,),
        "of some fields the first counts, and the others are warned of; of all others each line": (
            "responses: test_of_some_fields_the_first_counts test_all_cookies_pass",
        ),
        "103: relayed if early_hints says so, to 1.1 clients only": (
            "answers: test_early_hints_are_dropped_unless_asked_for test_early_hints_are_passed_on_when_a_value_says_so",
            "answers: test_early_hints_are_not_for_http_1_0 test_early_hints_of_an_upstream_that_speaks_http_1_0_are_a_502",
        ),
        "interim heads: 32 at most, and proxy_buffer_size in all": (
            "responses: test_no_more_than_32_of_them test_interim_heads_share_proxy_buffer_size",
        ),
        "100, 102 are read and forgotten (wproxy)": (
            "responses: test_interim_heads_are_consumed test_interim_heads_do_not_extend_proxy_read_timeout",
        ),
        "204, 304, HEAD have no body": (
            "responses: test_a_body_after_a_bodiless_answer_is_never_relayed test_304_keeps_its_content_length_and_204_has_none",
        ),
        "what comes after the end is dropped and warned of; the connection is not kept": (
            "responses: test_surplus_at_once test_surplus_at_the_end_of_a_body_that_was_not_whole_with_its_head",
            "buffering: test_what_comes_after_the_body_is_not_sent_and_the_connection_not_kept",
        ),
        "a body that breaks off is cut, and has no last chunk": (
            "responses: test_a_body_that_is_too_short_is_cut_visibly test_a_chunked_body_without_its_end_is_cut_visibly",
            "buffering: test_an_upstream_that_breaks_off_cuts_the_client",
            "through filters: test_an_upstream_that_breaks_off_cuts_the_response",
        ),
        "close before the head: error": ("responses: test_an_upstream_that_ends_before_its_head",),
        "until close: chunks for 1.1, close for 1.0": (
            "responses: test_a_body_until_close test_until_close_for_a_1_0_client test_chunked_for_a_1_0_client_is_unchunked_and_closed",
        ),
        "a bad chunk: 502 where no head has gone, else cut": (
            "responses: test_a_bad_chunk_before_a_head_was_sent_is_a_502 test_a_bad_chunk_after_it_cuts_the_body",
        ),
    },
    "3.2 headers": {
        "hidden and regenerated fields": (
            "responses: test_hidden_fields_do_not_reach_the_client test_hop_by_hop_fields_do_not_reach_the_client",
        ),
        "Upgrade passes": ("responses: test_upgrade_of_an_ordinary_answer_passes",),
        "fields that Connection names are stripped (wproxy)": ("responses: test_hop_by_hop_fields_do_not_reach_the_client",),
        "proxy_hide_header, proxy_pass_header: lists inherited as a whole": (
            "responses: test_hidden_by_configuration test_a_passed_date_or_server_is_sent_once",
            "responses: test_what_is_hidden_and_what_is_passed_are_inherited_each_as_a_whole",
        ),
        "X-Accel-Redirect": (
            "alike: test_x_accel_redirect_leads_alike",
            "answers: test_a_circle_of_x_accel_redirects_ends",
            "answers: test_x_accel_redirect_keeps_the_upstream_connection_out_of_the_pool_and_the_log_tells_both",
        ),
        "X-Accel-Buffering": ("buffering: test_x_accel_buffering_is_for_one_response",),
        "X-Accel-Limit-Rate; of no effect unbuffered": (
            "buffering: test_limit_rate_from_a_variable_from_set_and_from_the_upstream",
            "buffering: test_an_unbuffered_response_has_no_rate",
        ),
        "X-Accel-Charset": (
            "alike: test_x_accel_charset_is_stronger_than_charset",
            "answers: test_a_head_that_is_remembered_still_tells_us_what_it_says",
        ),
        "proxy_ignore_headers": (
            "buffering: test_what_an_upstream_asks_for_may_be_ignored",
            "alike: test_x_accel_redirect_leads_alike test_x_accel_charset_is_stronger_than_charset",
        ),
        "proxy_redirect": ("alike: test_location_and_refresh_are_rewritten_alike",),
        "proxy_cookie_domain, _path, _flags": (
            "alike: test_cookies_are_rewritten_alike",
            "answers: test_cookies_that_depend_on_the_request_are_made_anew",
            "answers: test_a_line_break_from_a_variable_never_reaches_a_cookie",
        ),
        "proxy_intercept_errors": (
            "routing: test_error_pages test_bodies_and_error_pages",
            "retries: test_upstream_variables_over_redirects",
        ),
        "trailers: when asked for, without the hidden ones, within limits": (
            "answers: test_trailers_are_passed_on_when_asked_for test_trailers_are_dropped_unless_asked_for",
            "chunked: test_trailers_are_limited_in_number_and_size",
        ),
        "proxy_force_ranges": ("alike: test_forced_ranges_are_alike",),
    },
    "3.3 body transfer": {
        "every body arrives as it was, whatever its framing and size, and however it is sent and read": (
            "buffering: test_a_body_arrives_as_it_was_sent test_a_client_that_reads_in_fits_gets_it_all",
            "buffering: test_every_body_arrives_as_it_was_however_it_is_sent_and_read test_http_10_gets_a_body_without_length_as_it_is",
        ),
        "what comes is sent at once (wproxy, design.md §3 e), through filters too": (
            "buffering: test_pieces_of_a_stream_are_sent_at_once",
            "through filters: test_an_event_goes_out_when_it_comes",
            "streams: test_an_event_is_late_by_less_than_20_ms test_a_page_is_shown_as_far_as_it_is_there",
        ),
        "buffered: the upstream is done early, however slow the client": (
            "buffering: test_an_upstream_is_done_early_however_slow_the_client test_a_small_rest_is_read_ahead_into_memory",
            "buffering: test_an_upstream_is_done_early_where_its_body_is_changed_on_its_way",
            "buffering: test_events_that_were_read_ahead_are_followed_by_those_that_come_later",
        ),
        "a file only for a client that is behind, with a warning (wproxy)": (
            "buffering: test_a_client_is_waited_for_before_anything_is_read_ahead",
        ),
        "up to proxy_max_temp_file_size, in proxy_temp_path; 0 is no file": (
            "buffering: test_the_file_does_not_grow_past_its_limit test_files_lie_in_the_directory_that_is_named",
            "buffering: test_what_may_not_be_read_ahead_stays_with_the_upstream",
        ),
        "then the upstream waits, and does not time out": (
            "buffering: test_an_upstream_that_is_held_back_does_not_time_out",
            "accounts: test_proxy_read_timeout_does_not_run_while_the_client_is_slow",
        ),
        "a disk that is full or fills up loses nothing": (
            "buffering: test_a_disk_that_is_full_holds_the_upstream_back test_a_disk_that_fills_up_loses_nothing",
        ),
        "sizes that do not fit together are refused": ("settings: test_sizes_that_fit test_sizes_that_do_not_fit",),
        "proxy_limit_rate": ("buffering: test_proxy_limit_rate_is_for_the_upstream",),
        "limit_rate, limit_rate_after": (
            "buffering: test_limit_rate_is_kept_and_the_upstream_is_done_early test_limit_rate_after test_limit_rate_of_a_file",
        ),
        "unbuffered: read as the client takes it": (
            "buffering: test_what_may_not_be_read_ahead_stays_with_the_upstream",
            "client: test_a_slow_client_holds_the_upstream_back",
        ),
        "proxy_connect_timeout": ("accounts: test_proxy_connect_timeout",),
        "proxy_read_timeout: for the whole head, then between two reads; 0 is at once": (
            "accounts: test_proxy_read_timeout_before_the_head_is_for_all_of_it test_a_read_timeout_of_0_expires_at_once",
            "accounts: test_proxy_read_timeout_within_a_body_is_between_two_reads",
            "buffering: test_a_silent_upstream_is_blamed_in_mid_body",
        ),
        "send_timeout": ("client: test_send_timeout_is_between_two_writes test_send_timeout_of_a_response_at_hand",),
        "a client that leaves, or half closes: 499, the upstream closed within a turn": (
            "client: test_a_client_that_closes_is_a_499_at_once test_within_two_turns test_a_client_that_ends_its_side_is_a_499_too",
            "client: test_a_client_that_leaves_with_pipelined_bytes_unread_is_a_499 test_a_client_that_leaves_while_connecting",
            "answers: test_a_client_that_leaves_costs_the_upstream_connection_within_a_turn",
            "buffering: test_a_client_that_leaves_frees_the_upstream_at_once",
            "through filters: test_a_client_that_leaves_lets_the_upstream_go",
        ),
        "not with proxy_ignore_client_abort": (
            "client: test_proxy_ignore_client_abort_lets_the_upstream_finish",
            "client: test_proxy_ignore_client_abort_serves_a_client_that_only_ended_its_side",
        ),
        "nor with proxy_store": (
            "store: test_a_client_that_leaves_does_not_keep_the_rest_from_being_stored",
            "store: test_a_client_that_leaves_before_the_head_does_not_either",
        ),
        "proxy_store: what is whole and 200, by one rename, with the time of Last-Modified": (
            "store: test_a_whole_answer_is_stored test_a_large_answer_is_stored_as_it_was test_what_is_not_stored",
            "store: test_an_answer_that_breaks_off_is_not_stored test_a_path_with_variables_and_an_alias",
        ),
        "slow clients and large bodies: little memory": (
            "whole: test_slow_clients_cost_less_than_40_kb_each test_a_transfer_of_any_size_leaves_the_memory_flat",
        ),
    },
    "3.4 tunnel": {
        "101 to a client that asked to upgrade, and whose wish was passed on (wproxy); of HTTP/1.0 too": (
            "tunnel: test_bytes_go_both_ways_as_they_are test_a_client_of_http_1_0_may_upgrade_too",
        ),
        "101 that nobody asked for: 502 (wproxy)": (
            "tunnel: test_101_without_upgrade_is_a_502",
            "responses: test_101_that_nobody_asked_for test_101_when_the_upgrade_was_stripped",
        ),
        "what came with either head goes first": (
            "tunnel: test_what_the_client_sent_too_early_goes_upstream_after_the_head",
            "tunnel: test_what_the_upstream_sent_with_its_head_goes_to_the_client",
            "websockets: test_bytes_sent_along_with_the_heads_are_not_lost",
        ),
        "proxy_read_timeout without traffic in either direction; proxy_tunnel_timeout (wproxy)": (
            "tunnel: test_the_idle_time_is_proxy_read_timeout test_traffic_in_either_direction_keeps_both_alive",
            "tunnel: test_proxy_tunnel_timeout_is_for_tunnels_only",
        ),
        "a side that takes nothing: send_timeout, proxy_send_timeout": (
            "tunnel: test_a_client_that_takes_nothing_is_given_up test_an_upstream_that_takes_nothing_is_given_up",
        ),
        "an end from either side, with what was said before, ends both": (
            "tunnel: test_when_the_client_leaves_the_upstream_is_closed test_when_the_upstream_leaves_the_client_is_closed",
            "tunnel: test_last_words_and_the_end_at_once_are_delivered",
            "tunnel: test_last_words_for_a_slow_client_are_delivered_before_the_end",
        ),
        "a refused upgrade is an ordinary answer": (
            "tunnel: test_a_refused_upgrade_is_an_ordinary_answer",
            "websockets: test_an_application_that_refuses_the_upgrade_answers_as_ever",
        ),
        "real clients and applications": (
            "websockets: test_text_and_binary_messages_come_back test_sixteen_megabytes_in_fragments_come_back_in_fragments",
            "websockets: test_compression_is_between_the_two_ends test_the_close_code_arrives test_two_hundred_websockets_at_once",
        ),
        "CONNECT is no method of ours": ("requests: test_trace_and_connect",),
    },
}
