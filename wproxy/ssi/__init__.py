"""Server side includes: the language (subrequests.md §5; nginx: src/http/modules/ngx_http_ssi_filter_module.c).

parse.py    bytes to texts and commands
strings.py  variables in texts, and the expressions of `if`
state.py    what all pages of one client's request share
"""
