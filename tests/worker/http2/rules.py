"""Where each rule of protocols.md §3 is tested: gRPC and HTTP/2 upstreams. The rule in short, its tests as FILE: NAMES."""

from __future__ import annotations

# Files by a short name, below tests/.
FILES = {
    "checks": "worker/test_health_checks.py",
    "grpc": "worker/upstream/test_grpc.py",
    "grpc-js": "applications/grpcjs/test_grpcjs.py",
    "http2": "worker/upstream/test_http2.py",
    "like nginx": "worker/upstream/test_grpc_like_nginx.py",
    "opening": "worker/upstream/test_opening.py",
    "real servers": "applications/http2/test_http2_peers.py",
    "whole": "whole/test_whole_grpc.py",
}

SAME_HEADS = "like nginx: test_the_same_heads_and_bodies_are_sent"
SAME_ANSWERS = "like nginx: test_the_same_is_made_of_each_answer"
SAME_FAULTS = "like nginx: test_the_same_is_made_of_each_fault"
SAME_SETTINGS = "like nginx: test_settings_have_the_same_effect"

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "3 connections": {
        "grpc://, grpcs://, unix:, an upstream, variables; the URI is not changed": (
            "grpc: test_a_call_over_a_target_with_variables",
            "whole: test_calls_go_to_a_server_that_speaks_tls_and_demands_a_certificate",
            SAME_HEADS,
        ),
        "clear by prior knowledge, TLS by ALPN; the settings of the beginning": (
            "http2: test_a_request_is_a_field_block_and_the_answer_goes_to_an_http1_client test_over_tls_it_is_agreed_on",
            "http2: test_an_upstream_that_speaks_before_there_is_a_request_hears_the_beginning_first",
        ),
        "one stream at a time with the numbers 1, 3, 5, unless max_streams allows for more": (
            "http2: test_requests_follow_each_other_on_a_connection test_one_request_at_a_time_unless_more_are_allowed",
            "http2: test_proxy_max_streams_lets_requests_share_a_connection test_the_upstream_may_allow_for_fewer_streams",
            "grpc: test_calls_share_a_connection_if_they_may",
            "opening: test_as_many_wait_as_it_may_carry",
        ),
        "used again if both sides ended cleanly and there was no GOAWAY": (
            "http2: test_an_answer_goes_on_after_a_goaway_and_the_connection_is_not_used_again",
            "http2: test_a_goaway_on_an_idle_connection_closes_it",
        ),
    },
    "3 calls": {
        "unbuffered both ways, each DATA passes at once, the half-close too": (
            "grpc: test_a_server_streams_as_it_has_messages test_a_client_streams_and_both_do",
            "whole: test_calls_of_every_kind_go_through",
        ),
        "trailers-only; trailers always pass": ("grpc: test_a_unary_call test_trailers_only", SAME_ANSWERS),
        ":authority, TE, Content-Length, what is removed, grpc_set_header": (
            "grpc: test_fields_that_are_set_hidden_and_passed test_te_is_sent_only_if_the_client_sends_it",
            SAME_HEADS,
        ),
        "Date, Server and X-Accel-* are hidden": (SAME_ANSWERS, SAME_SETTINGS),
        "RST_STREAM, a broken frame, GOAWAY before the head: invalid_header or error, then the next peer": (
            SAME_FAULTS,
            "http2: test_a_broken_answer_is_a_502_and_the_connection_stays test_who_breaks_the_rules_of_a_connection_loses_it",
            "http2: test_a_request_that_was_refused_is_sent_to_another_peer_whatever_its_method",
            "grpc: test_another_peer_is_asked_where_the_words_say_so",
        ),
        "later: the client's stream is cut": ("http2: test_an_answer_that_breaks_later_is_cut",),
        "a flood of SETTINGS or PING is an error": ("http2: test_a_flood_of_pings_is_not_answered_forever",),
        "timeouts are between reads, and a PING is a sign of life": (
            "grpc: test_a_silent_call_times_out_and_a_ping_keeps_it",
            "http2: test_a_ping_is_answered_and_is_a_sign_of_life",
        ),
        "cancelled calls, deadlines, -bin metadata, 3 MB, upstream down": (
            "grpc: test_a_call_that_is_cancelled_resets_its_stream test_an_upstream_that_is_away",
            "whole: test_calls_of_every_kind_go_through",
            "whole: test_the_same_calls_are_the_same_without_and_behind_the_real_nginx",
            "grpc-js: test_calls_of_node_go_through test_calls_of_grpcio_go_through_to_node",
        ),
        "grpc_errors": (
            "grpc: test_errors_are_statuses_of_grpc_for_calls_only",
            "whole: test_errors_of_ours_reach_grpc_clients",
        ),
        "client_max_body_size is that of the whole stream": ("grpc: test_the_limit_of_a_body_is_that_of_a_whole_stream",),
        "intercept_errors, hide_header, ignore_headers, next_upstream as proxy": (
            SAME_SETTINGS,
            "grpc: test_errors_of_the_upstream_may_be_replaced",
        ),
        "health_check type=grpc": (
            "checks: test_a_grpc_server_is_asked_whether_it_serves",
            "whole: test_checks_ask_a_real_server_whether_it_serves",
        ),
    },
    "3 proxy_http_version 2": {
        "the same heads and answers as nginx 1.29.4 and later": (SAME_HEADS, SAME_ANSWERS, SAME_FAULTS, SAME_SETTINGS),
        "nginx and others as upstreams": (
            "http2: test_nginx_is_an_upstream",
            "real servers: test_answers test_nginx_is_the_server",
        ),
    },
}
