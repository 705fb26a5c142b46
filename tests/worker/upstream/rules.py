"""Where each rule of proxy.md §4, §5, §6 and §8 is tested: the rule in short, and its tests as FILE: NAMES.

tests/test_rule_tables.py asserts that all of them exist. Where wproxy does otherwise on purpose (design.md §3), the rule says so.
"""

from __future__ import annotations

# Files by a short name, below tests/.
FILES = {
    "answers": "worker/upstream/test_answers.py",
    "balance": "worker/test_balance.py",
    "bodies": "worker/upstream/test_request_bodies.py",
    "budget": "worker/upstream/test_budget.py",
    "common": "worker/upstream/test_common_counts.py",
    "discovery": "worker/resolver/test_discovery.py",
    "failing": "worker/upstream/test_failing_peers.py",
    "health": "wproxy/test_health.py",
    "keepalive": "worker/test_keepalive.py",
    "killed": "wproxy/test_health_killed.py",
    "like nginx": "worker/upstream/test_retries_like_nginx.py",
    "logs": "worker/test_logs.py",
    "proxy": "worker/test_proxy.py",
    "remembered": "wproxy/test_remembered.py",
    "renewal": "worker/resolver/test_renewal.py",
    "responses": "worker/test_response_strictness.py",
    "sessions": "wproxy/test_sessions.py",
    "services": "worker/resolver/test_services.py",
    "start": "wproxy/config/test_names_at_start.py",
    "sticky": "worker/test_sticky.py",
    "tunnel": "worker/test_tunnel.py",
    "whole discovery": "whole/test_whole_discovery.py",
    "whole health": "whole/test_whole_health.py",
    "whole retries": "whole/test_whole_retries.py",
}

EVERY_WAY = "like nginx: test_every_way_to_fail_with_every_word_and_with_none"
TRIES = "like nginx: test_tries_backups_peers_that_rest_and_those_that_are_down"
REDIRECTS = "like nginx: test_upstream_variables_over_redirects"
SENDING = "proxy: test_a_failure_after_sending_is_retried_unless_that_may_do_a_thing_twice"

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "4.1 outcomes": {
        "refused, unreachable, reset, end before the head: error, 502": (
            EVERY_WAY,
            "proxy: test_connections_of_a_unix_socket_are_refused_at_once",
        ),
        "timer of connect, send or head: timeout, 504": (
            "proxy: test_proxy_connect_timeout test_proxy_send_timeout test_proxy_read_timeout_before_the_head_is_for_all_of_it",
        ),
        "bad or too big head: invalid_header, 502": (EVERY_WAY, "responses: test_a_bad_head_is_a_502_and_never_relayed"),
        "an answer with http_N and tries left is passed on, else it is the answer": (
            "proxy: test_an_answer_may_be_retried test_the_last_peers_own_answer_is_relayed",
            "proxy: test_an_answer_is_relayed_where_no_other_may_be_asked",
            EVERY_WAY,
        ),
        "no peer: 502 and no live upstreams, whatever was before": (
            "proxy: test_no_live_upstreams",
            "failing: test_no_live_upstream_is_a_502_whatever_was_before",
            TRIES,
        ),
        "no socket, bind, configuration: 500 and no retry": (
            "failing: test_without_a_descriptor_it_is_a_500_and_no_peer_is_to_blame",
            "answers: test_an_address_that_is_not_ours_is_a_500_and_no_peer_s_fault",
            "proxy: test_a_line_break_in_a_variable_is_a_500_and_nothing_upstream",
        ),
        "the default is error timeout; off overrides all": ("proxy: test_only_the_failures_named_are_retried", EVERY_WAY),
    },
    "4.1 retry iff": {
        "the head was not sent to the client; 103 does not count": (
            "failing: test_a_head_that_has_gone_out_is_never_followed_by_another_try",
            "answers: test_a_head_after_early_hints_may_still_be_retried",
        ),
        "tries are left": ("proxy: test_tries test_every_peer_is_tried_once", TRIES),
        "the class is enabled": ("proxy: test_only_the_failures_named_are_retried", EVERY_WAY),
        "no body of which a part is gone": (
            "bodies: test_without_buffering_a_body_that_is_gone_is_not_sent_again test_a_kept_body_goes_to_another_peer",
            "bodies: test_without_buffering_what_came_with_the_head_may_be_sent_again",
            "proxy: test_an_upstream_that_leaves_in_the_middle_of_an_upload_is_a_502",
        ),
        "proxy_next_upstream_timeout has not elapsed": ("proxy: test_the_time_for_tries",),
        "the client is there, else 499": ("failing: test_a_client_that_has_left_gets_no_further_try",),
        "no POST, LOCK, PATCH that was sent, but for non_idempotent": (
            SENDING,
            "proxy: test_a_post_is_retried_where_non_idempotent_says_so",
            EVERY_WAY,
        ),
        "refused connects whatever the method": (
            "proxy: test_a_refused_connection_is_retried_on_the_next_peer_whatever_the_method",
        ),
        "PUT, DELETE, MKCOL are retried": (SENDING, "failing: test_mkcol_and_the_like_are_retried"),
        "the budget allows it (wproxy)": (
            "budget: test_when_the_budget_is_spent_the_failure_is_returned_and_the_log_says_by_what",
            "budget: test_a_peers_own_answer_is_relayed_when_the_budget_is_spent test_retries_are_a_share_of_the_requests",
        ),
    },
    "4.1 tries": {
        "peers that are not down, primaries and backups": (
            "failing: test_backups_count_as_tries_and_peers_that_are_down_do_not",
        ),
        "capped by proxy_next_upstream_tries, the first counted": ("proxy: test_tries", TRIES),
        "a single peer has one": (EVERY_WAY,),
        "no peer twice": ("proxy: test_every_peer_is_tried_once",),
    },
    "4.1 a reused connection dies (wproxy: a fresh one to the same peer, and nobody is to blame)": {
        "the same peer, through all that are dead, until a fresh connect": (
            "proxy: test_a_dead_idle_connection_is_replaced_by_a_fresh_one_to_the_same_peer",
            "proxy: test_several_dead_idle_connections_are_gone_through",
            "whole retries: test_gets_against_backends_that_close_idle_connections_at_the_worst_moment",
        ),
        "a POST that may have been done is not, but for non_idempotent": (
            "proxy: test_a_post_that_a_reused_connection_swallowed_is_not",
            "failing: test_a_request_of_non_idempotent_method_is_sent_again_on_a_fresh_connection_where_that_is_allowed",
        ),
        "after a byte of an answer it is a failure": (
            "proxy: test_a_reused_connection_that_dies_after_a_byte_of_an_answer_is_a_failure",
        ),
        "it is no retry for the budget": ("budget: test_a_fresh_connection_in_place_of_a_dead_one_is_no_retry",),
    },
    "4.2 passive health": {
        "available: not down, not failed within fail_timeout, with room": (
            "health: test_a_failed_peer_rests_for_fail_timeout",
            "balance: test_a_peer_that_is_down_or_draining_gets_nothing test_max_conns_counts_requests_under_way",
        ),
        "selected later than fail_timeout: checked is now": (
            "health: test_after_the_rest_one_request_probes_and_all_others_wait",
        ),
        "error, timeout, invalid_header count whatever the words": ("proxy: test_only_the_failures_named_are_retried",),
        "http_5xx and 429 only when passed on, 403 and 404 never": (
            "failing: test_an_answer_counts_as_a_failure_only_when_it_is_passed_on_and_403_and_404_never",
            "proxy: test_an_answer_is_no_failure_whatever_it_says",
        ),
        "a failure lowers the weight by W div max_fails": (
            "balance: test_a_failure_lowers_the_weight_and_each_turn_gives_a_step_back",
            "failing: test_without_max_fails_the_weight_stays_what_it_is",
        ),
        "upstream server temporarily disabled": ("proxy: test_a_failed_peer_rests_for_fail_timeout", TRIES),
        "released otherwise: fails is 0 if accessed < checked": (
            "health: test_a_probe_that_succeeds_forgives_everything",
            "health: test_a_success_that_was_chosen_before_the_failure_forgives_nothing",
            "failing: test_a_probe_that_ends_without_a_failure_brings_the_peer_back",
        ),
        "not consecutive, no sliding window": (
            "health: test_failures_add_up_for_ever_when_they_are_close test_a_success_soon_after_a_failure_forgives_nothing",
        ),
        "one probe, of the whole server; its failure disables at once": (
            "proxy: test_only_one_request_probes test_one_probe_goes_through_and_its_failure_rests_the_peer_again",
            "health: test_of_all_workers_that_see_the_rest_end_one_may_probe",
            "whole health: test_all_workers_together_try_a_dead_peer_max_fails_times_and_probe_it_once_and_take_it_back",
        ),
        "max_fails=0 never": ("proxy: test_max_fails_0_never_rests", "health: test_max_fails_0_never_rests"),
        "a single peer: failures are ignored, down and max_conns are not; a name of two addresses is not single": (
            "proxy: test_a_single_peer_never_rests",
            "failing: test_of_a_single_peer_only_down_drain_and_max_conns_count test_a_name_of_two_addresses_is_not_a_single_peer",
            "balance: test_max_conns_holds_for_a_peer_that_is_alone",
        ),
        "all unavailable: 502 at once": ("proxy: test_no_live_upstreams", TRIES),
        "backup: when this request finds no primary": (
            "balance: test_backups_serve_when_no_primary_can",
            "balance: test_a_request_goes_on_to_a_backup_when_it_has_tried_all_primaries",
            TRIES,
        ),
        "backup does not go with hash, ip_hash, random": ("sticky: test_what_makes_no_sense_is_refused_in_nginxs_words",),
        "down keeps its weight in maps of hashes": (
            "balance: test_a_key_goes_where_nginx_sends_it test_an_address_goes_where_nginx_sends_it",
        ),
        "drain: only what is bound": ("sticky: test_a_peer_that_drains_keeps_its_sessions_and_gets_no_new_ones",),
        "max_conns: requests under way, not idle connections": (
            "proxy: test_max_conns test_max_conns_counts_a_body_until_its_end",
            "failing: test_idle_connections_take_no_room",
        ),
        "with zone, max_conns and least_conn are for the whole server": (
            "common: test_with_a_zone_a_limit_holds_for_the_whole_server",
            "common: test_least_conn_goes_by_what_all_workers_have_under_way",
        ),
        "queue and slow_start": ("sticky: test_a_request_waits_until_the_peer_has_room test_a_peer_that_comes_back_warms_up",),
        "health is of the whole server (wproxy: zone or not), over a reload and killed workers": (
            "whole health: test_a_peer_that_rests_goes_on_resting_when_workers_are_killed_and_after_a_reload",
            "killed: test_counts_and_availability_survive_workers_that_are_killed_at_any_instruction",
            "whole retries: test_workers_are_killed_at_random_moments_under_load_and_counters_and_availability_are_consistent",
        ),
        "resolved addresses carry over a reload": (
            "remembered: test_a_process_that_is_forked_later_writes_into_the_same_memory",
            "discovery: test_a_worker_begins_with_what_those_before_it_had_found_while_the_name_server_is_down",
            "whole discovery: test_a_reload_while_the_name_servers_are_down_leaves_the_peers_where_they_are",
        ),
    },
    "4.3 error log": {
        "the line": (
            "failing: test_the_line_of_a_failure_has_all_that_nginx_says",
            "logs: test_a_unix_peer_in_an_error_line_has_a_colon",
        ),
        "connecting to upstream": ("proxy: test_proxy_connect_timeout", EVERY_WAY),
        "sending request to upstream": ("proxy: test_proxy_send_timeout",),
        "reading response header from upstream": ("proxy: test_proxy_read_timeout_before_the_head_is_for_all_of_it", EVERY_WAY),
        "reading upstream": (
            "failing: test_a_body_that_breaks_off_is_named",
            "proxy: test_proxy_read_timeout_within_a_body_is_between_two_reads",
        ),
        "proxying upgraded connection": ("tunnel: test_the_idle_time_is_proxy_read_timeout",),
        "the setting behind a timer": ("proxy: test_a_timer_left_at_its_default_says_so",),
    },
    "5 balancers": {
        "round robin": ("balance: test_round_robin_is_smooth test_one_request_after_another_goes_where_nginx_sends_it",),
        "ip_hash": ("balance: test_what_of_an_address_decides test_an_address_goes_where_nginx_sends_it",),
        "hash, hash consistent": (
            "balance: test_a_key_goes_where_nginx_sends_it test_what_a_server_is_called_on_the_ring test_an_empty_key_belongs_to_nobody",
        ),
        "least_conn": ("balance: test_least_conn_is_the_fewest_for_the_weight test_least_conn_under_load_is_nginxs",),
        "least_time": (
            "balance: test_times_that_are_nearly_the_same_are_the_same test_a_new_time_counts_for_a_twentieth",
            "balance: test_least_time_prefers_the_quick_by_header_or_by_last_byte test_only_answers_count_for_least_time",
            "balance: test_a_slow_peer_gets_another_chance test_with_inflight_a_peer_that_does_not_answer_is_slow",
            "common: test_with_inflight_a_peer_that_another_worker_probes_is_not_left_with_a_request_that_never_was",
        ),
        "random": ("balance: test_random_goes_by_weight test_random_two_takes_the_one_with_less_to_do test_random_two_by_time",),
        "sticky cookie": (
            "sticky: test_every_response_sets_the_cookie_and_the_cookie_leads_back",
            "sticky: test_attributes_of_the_cookie_come_in_nginxs_order",
        ),
        "sticky route": ("sticky: test_the_first_route_that_is_not_empty_counts",),
        "sticky learn, in all workers": (
            "sticky: test_a_session_stays_where_it_was_created test_a_session_is_forgotten_when_it_is_not_used_for_long",
            "sessions: test_two_workers_see_the_same test_workers_that_write_at_once_never_mix_up_two_sessions",
        ),
        "a SID that cannot be used: normal balancing": ("sticky: test_a_cookie_that_nobody_knows_means_nothing",),
        "resolve: at the TTL; a name that is gone leaves nobody, other errors change nothing": (
            "discovery: test_peers_change_when_the_answer_is_over_and_not_before test_a_name_that_is_gone_leaves_nobody",
            "discovery: test_a_name_server_that_fails_changes_nothing_and_is_told_of_once",
        ),
        "service: priorities and weights": (
            "services: test_a_service_without_a_dot_is_one_of_tcp",
            "renewal: test_services_bring_weights_and_backups",
        ),
        "a change while a request is under way (wproxy: it goes on to a new peer)": (
            "renewal: test_a_request_that_failed_there_is_tried_on_a_new_one",
        ),
        "a name that is not found at the start": ("start: test_upstream_start_degraded_lets_it_begin_empty",),
    },
    "6 keepalive": {
        "N idle connections for the group and worker; 0 is off; 32 by default": (
            "keepalive: test_the_pool_is_for_the_group_not_for_each_peer test_without_keepalive_every_connection_is_closed",
            "keepalive: test_the_default_keeps_32",
        ),
        "local: only for the location that opened it": (
            "keepalive: test_local_connections_stay_with_the_location_that_opened_them",
            "keepalive: test_connections_are_shared_between_locations_otherwise",
        ),
        "stored last is used first; full: the oldest goes": (
            "keepalive: test_the_connection_released_last_is_used_first",
            "keepalive: test_a_full_pool_gives_up_the_connection_released_first",
        ),
        "saved: complete, no surplus, HTTP/1.1, no close": (
            "failing: test_which_answers_leave_a_connection_that_is_kept",
            "responses: test_surplus_at_once test_an_http_1_0_answer_or_one_that_says_close_is_not_reused",
        ),
        "saved: whole request sent": ("proxy: test_an_early_answer_ends_the_upload_and_its_connection",),
        "saved: keepalive_requests, keepalive_time": ("proxy: test_keepalive_requests test_keepalive_time",),
        "saved: not by a worker that leaves": ("failing: test_a_worker_that_leaves_keeps_no_connection",),
        "what we sent is irrelevant": ("failing: test_what_we_said_ourselves_does_not_matter",),
        "keepalive_timeout; readable is closed": (
            "proxy: test_keepalive_timeout test_an_idle_connection_that_becomes_readable_is_closed",
        ),
        "the upstream's Keep-Alive: timeout= (wproxy)": ("proxy: test_an_announced_timeout_is_heeded_a_second_early",),
        "implicit groups keep too (wproxy)": ("proxy: test_an_implicit_group_keeps_connections_too",),
    },
    "8 variables": {
        "an element for each attempt, groups after redirects": (
            REDIRECTS,
            TRIES,
            "proxy: test_upstream_variables_over_three_tries",
        ),
        "addr is the group's name when none is live": ("proxy: test_no_live_upstreams", TRIES),
        "status: the code, 502 or 504 of a failed try, - when unknown": (
            "failing: test_a_client_that_has_left_gets_no_further_try",
            EVERY_WAY,
        ),
        "times: S.mmm or -": (EVERY_WAY, "proxy: test_upstream_variables_over_three_tries"),
        "lengths and bytes": (EVERY_WAY, "proxy: test_bytes_received_counts_the_whole_response"),
        "no upstream: - in logs, empty elsewhere": ("failing: test_without_an_upstream_variables_are_empty_outside_of_logs",),
        "fields and cookies of the last answer": ("failing: test_fields_and_cookies_of_the_last_answer", REDIRECTS),
    },
}
