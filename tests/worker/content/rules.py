"""Where each rule of routing.md §3.4, §3.5 and §5 is tested: the rule in short, and its tests as FILE: NAMES.

tests/test_rule_tables.py asserts that all of them exist. Where wproxy does otherwise on purpose (design.md §3), the rule says so.
"""

from __future__ import annotations

# Files by a short name, below tests/.
FILES = {
    "added": "worker/test_added_headers.py",
    "autoindex": "worker/content/test_autoindex.py",
    "bodies": "worker/filters/test_bodies.py",
    "charsets": "worker/filters/test_charset_like_nginx.py",
    "conditions": "wproxy/test_conditions.py",
    "conditions like nginx": "worker/content/test_conditions_like_nginx.py",
    "expires": "worker/filters/test_expires_like_nginx.py",
    "fields": "worker/filters/test_fields_of_responses.py",
    "file body": "worker/content/test_file_body.py",
    "files like nginx": "worker/content/test_files_like_nginx.py",
    "filtered": "worker/filters/test_filtered_files_like_nginx.py",
    "gzip": "worker/filters/test_gzip_like_nginx.py",
    "headers": "worker/filters/test_headers.py",
    "idioms": "whole/test_whole_idioms.py",
    "like nginx": "worker/content/test_like_nginx.py",
    "mime": "wproxy/test_mime_types.py",
    "odd": "worker/content/test_odd_files.py",
    "open files": "worker/content/test_open_files.py",
    "pages": "worker/test_pages.py",
    "precompressed": "worker/content/test_precompressed.py",
    "ranges": "wproxy/test_ranges.py",
    "rates": "worker/content/test_rates_of_files.py",
    "static": "worker/content/test_static.py",
    "streams": "worker/filters/test_streams_through_filters.py",
    "sub": "worker/filters/test_sub_filter_like_nginx.py",
    "threads": "worker/test_threads.py",
}

FILES_OF_NGINX = "like nginx: test_files_are_answered_as_nginx_answers"
IDIOMS = "files like nginx: test_the_idioms_of_deployments_are_answered_as_nginx_answers_them"
KEPT = "files like nginx: test_kept_files_are_answered_as_nginx_answers_them"
LISTS = "files like nginx: test_directories_are_listed_as_nginx_lists_them"
CHARSETS = "files like nginx: test_character_sets_are_named_as_nginx_names_them"
COMPRESSED = "files like nginx: test_compressed_files_are_sent_as_nginx_sends_them"
EVERY_PLACE = "filtered: test_every_file_goes_through_every_place_as_in_nginx"
MEETING = "filtered: test_conditions_and_ranges_meet_filters_as_in_nginx"
ALL_200 = "conditions like nginx: test_conditions_are_for_every_200_and_ranges_for_files"
COMPRESSING = "gzip: test_files_and_answers_of_ours_are_compressed_where_nginx_compresses_them"
PROXIED = "gzip: test_proxied_responses_are_compressed_and_inflated_where_nginx_does"
SUB = "sub: test_texts_are_replaced_where_nginx_replaces_them"
EXPIRES = "filtered: test_every_form_of_expires_says_what_nginx_says"
ODD = "odd: test_odd_files_and_odd_names_are_answered_as_nginx_answers_them"

RULES: dict[str, dict[str, tuple[str, ...]]] = {
    "3.4 root and alias": {
        "root + $uri": (FILES_OF_NGINX,),
        "alias replaces the location's name as text; in a regex location it is the whole path": (FILES_OF_NGINX, ODD),
        "an alias without its slash shows nothing above it (wproxy)": (
            "static: test_an_alias_without_its_slash_shows_nothing_above_it",
        ),
        "after rewrite ... break an alias is a 500": (FILES_OF_NGINX,),
        "nothing above the root, however it is written": (
            ODD,
            "static: test_try_files_of_an_argument_shows_nothing_above_the_root",
        ),
    },
    "3.4 index": {
        "the names in order for GET, HEAD, POST; a hit is an internal redirect, locations are searched again": (
            FILES_OF_NGINX,
            KEPT,
        ),
        "an absolute last name redirects untested": (FILES_OF_NGINX,),
        "no hit: a missing directory 404, else autoindex, else 403": (FILES_OF_NGINX, LISTS),
    },
    "3.4 static": {
        "other methods than GET, HEAD, POST: 405": (FILES_OF_NGINX, IDIOMS),
        "POST on a file 405, missing 404, directory 301": (FILES_OF_NGINX,),
        "a directory without its slash: 301, escaped, with the arguments": (FILES_OF_NGINX,),
        "ENOENT ENOTDIR ENAMETOOLONG 404, EACCES ELOOP 403, special file 404, other 500": (
            FILES_OF_NGINX,
            ODD,
            "odd: test_a_file_that_may_not_be_read_is_forbidden",
        ),
        "disable_symlinks": (
            "files like nginx: test_symbolic_links_are_refused_as_nginx_refuses_them",
            "open files: test_a_link_that_is_swapped_while_it_is_judged_is_never_followed_unjudged",
            "open files: test_only_whole_names_at_the_beginning_are_trusted test_a_walk_leaves_no_descriptor_behind",
        ),
    },
    "3.4 open_file_cache": {
        "max": ("open files: test_the_file_asked_for_least_recently_makes_room",),
        "inactive": ("open files: test_a_file_that_nobody_asks_for_is_closed",),
        "fd, size, time and type are kept": ("open files: test_a_file_is_opened_once", KEPT),
        "errors": ("open files: test_errors_are_kept_only_if_asked_for",),
        "valid": (
            "open files: test_what_is_kept_is_believed_until_it_is_no_longer_valid test_a_file_that_grew_keeps_its_descriptor",
        ),
        "min_uses": ("open files: test_a_file_is_kept_open_from_the_use_on_that_min_uses_says",),
    },
    "3.5 try_files": {
        "path is root or alias + text; a slash at its end means a directory": (FILES_OF_NGINX, IDIOMS),
        "a hit is $uri, the location stays": (FILES_OF_NGINX,),
        "last: =code, 444 too": (FILES_OF_NGINX, "odd: test_the_last_of_try_files_may_close_the_connection"),
        "last: @name": (FILES_OF_NGINX, IDIOMS),
        "last: a URI, with the arguments that are written there": (FILES_OF_NGINX, IDIOMS),
    },
    "5.1 order": {
        "status line, then fields": (
            "added: test_the_order_of_fields_is_nginx_s test_a_proxied_response_has_its_own_lines_before_those_that_are_added",
            EVERY_PLACE,
        ),
        "filters in their order": (
            EVERY_PLACE,
            MEETING,
            "bodies: test_changes_are_chained_and_each_is_flushed_through_the_others",
        ),
        "unusual phrases": ("pages: test_a_page_is_nginx_s_byte_for_byte", "odd: test_statuses_have_the_phrases_of_nginx"),
        "server_tokens": ("added: test_without_tokens_nothing_tells_the_version",),
        "HEAD keeps lengths": ("static: test_head_has_everything_but_the_body_and_opens_nothing_for_long", EVERY_PLACE),
        "204 and 304 without type, length, body": (MEETING, "odd: test_statuses_have_the_phrases_of_nginx"),
        "chunked iff the length is unknown, 1.1 and allowed; else the end of the connection": (
            "streams: test_a_client_of_http_1_0_gets_a_body_that_ends_with_its_connection",
            "streams: test_without_chunks_the_end_of_the_connection_ends_the_body",
        ),
    },
    "5.2 types, charset": {
        "without types: html gif jpg": (ODD,),
        "the extension after the last dot of the last segment, caseless; default_type": (FILES_OF_NGINX,),
        "the table of nginx's mime.types": ("mime: test_a_file_has_the_type_of_its_extension",),
        "charset and charset_types; error pages, not 301 and 302; an existing one stays but for override_charset": (CHARSETS,),
        "recoding": ("charsets: test_texts_are_recoded_as_in_nginx",),
        "a type may bear its charset": ("fields: test_a_type_may_bear_its_charset",),
    },
    "5.3 add_header, expires": {
        "the statuses; always": (
            "headers: test_success_and_redirection_get_all_fields test_other_statuses_get_only_what_is_for_always",
        ),
        "an empty value is nothing": ("headers: test_what_adding_does_to_the_lines",),
        "Cache-Control and Link append; ETag, Last-Modified replace; others add a line": (
            "headers: test_what_adding_does_to_the_lines test_our_own_date_and_server_stand_beside_those_that_are_added",
            EVERY_PLACE,
        ),
        "add_trailer forces chunks": ("added: test_a_trailer_makes_chunks_of_a_whole_body_too",),
        "expires in all forms": (EXPIRES, "headers: test_expires_and_cache_control"),
        "expires @": (
            "expires: test_a_time_of_day_is_the_moment_that_nginx_means",
            "headers: test_a_time_of_day_is_the_next_one_by_the_local_clock test_a_time_of_day_skips_the_hour_that_summer_takes",
        ),
        "modified": (EXPIRES, "headers: test_modified_counts_from_the_last_modification"),
        "a bad or empty variable is nothing": (EXPIRES, "headers: test_a_variable_that_makes_no_sense_adds_nothing"),
        "it replaces Expires and Cache-Control": ("headers: test_what_the_upstream_said_is_replaced_where_it_stands",),
    },
    "5.4 validators": {
        "the ETag; weak after gzip, gunzip, sub_filter": (FILES_OF_NGINX, EVERY_PLACE),
        "the order of conditions": ("conditions: test_conditions_are_judged_in_nginxs_order", FILES_OF_NGINX),
        "they are for every 200": (ALL_200,),
        "if_modified_since": (FILES_OF_NGINX, "conditions: test_conditions_are_judged_in_nginxs_order"),
        "all three forms of dates": (FILES_OF_NGINX,),
    },
    "5.5 ranges": {
        "200 of a file only": (ALL_200, FILES_OF_NGINX),
        "caseless unit, lists, suffixes": ("ranges: test_what_is_there_is_given", FILES_OF_NGINX),
        "unsatisfiable items are skipped; none left or bad syntax: 416 with Content-Range": (
            "ranges: test_what_is_not_there_or_not_readable_is_unsatisfiable",
            FILES_OF_NGINX,
        ),
        "multipart/byteranges": ("ranges: test_several_parts_are_framed", "static: test_several_ranges_of_a_big_file_are_framed"),
        "the whole where parts are too many or too dear; max_ranges": (
            "ranges: test_more_parts_than_allowed_or_than_the_whole_are_the_whole",
            "ranges: test_by_default_parts_with_their_frames_may_not_cost_much_more_than_the_whole",
            FILES_OF_NGINX,
        ),
        "If-Range": ("ranges: test_if_range_wants_exactly_this_body", FILES_OF_NGINX),
        "of several Range the first": (ALL_200,),
    },
    "5.6 gzip": {
        "status, coding, length, type, Accept-Encoding, version": (COMPRESSING, EVERY_PLACE),
        "Via and gzip_proxied": ("gzip: test_gzip_proxied_asks_what_nginx_asks",),
        "gzip_disable": ("filtered: test_who_asks_and_how_counts_as_in_nginx",),
        "gzip_vary on every eligible response": (COMPRESSING, EVERY_PLACE),
        "length and Accept-Ranges go": (EVERY_PLACE, MEETING),
        "streams are flushed": (
            "streams: test_an_event_goes_out_when_it_comes",
            "bodies: test_what_has_come_goes_out_before_the_source_is_waited_for",
        ),
        "gzip_static on, always": (
            COMPRESSED,
            "precompressed: test_each_sends_its_file_to_who_takes_it test_always_does_not_ask",
        ),
        "gunzip": (PROXIED, "bodies: test_members_of_gzip_follow_each_other test_what_is_no_gzip_ends_the_response"),
        "brotli and zstd, in the same manner (wproxy)": (
            "streams: test_the_first_coding_that_the_client_takes_is_used",
            "bodies: test_a_body_of_any_size_survives",
        ),
        "sub_filter: caseless, across buffers, once": (SUB, "bodies: test_texts_are_replaced_wherever_a_body_is_cut"),
        "sub_filter: length, time and ETag go": (SUB, EVERY_PLACE),
    },
    "5.7 autoindex": {
        "GET, HEAD; no dot-files; directories first, byte order": (
            LISTS,
            "autoindex: test_directories_come_first_each_kind_in_order_however_many_there_are",
        ),
        "html": (LISTS, "autoindex: test_sizes_are_rounded_as_nginx_rounds_them test_a_name_cannot_break_out_of_the_page"),
        "json, jsonp and its callback, xml": (LISTS, "autoindex: test_names_are_escaped_for_where_they_stand"),
        "10,000 files in 300 ms": ("autoindex: test_ten_thousand_files_take_less_than_300_ms_and_hold_nobody_up",),
    },
    "5.8 built-in pages": {
        "the lines, 494 to 497": ("pages: test_a_page_is_nginx_s_byte_for_byte",),
        "padding": (
            "pages: test_a_padded_page_is_as_long_as_nginx_s test_the_browsers_that_hide_short_pages",
            "added: test_error_pages_are_padded_for_browsers_that_hide_short_ones",
        ),
        "codes without a page have none": ("odd: test_statuses_have_the_phrases_of_nginx",),
        "sendfile, sendfile_max_chunk": (
            "files like nginx: test_large_files_arrive_whole_however_they_are_sent",
            "file body: test_no_more_than_sendfile_max_chunk_is_sent_at_once",
            "rates: test_a_fast_client_has_no_more_than_its_share_of_a_turn",
        ),
        "aio threads, directio": (
            "threads: test_what_is_not_in_memory_is_read_by_threads test_directio_leaves_nothing_of_large_files_in_memory",
        ),
        "the deployments' idioms": (
            "idioms: test_pages_and_files_come_from_the_disk_and_the_rest_from_the_application",
            "idioms: test_everything_that_is_no_file_is_the_front_controllers",
        ),
    },
}
