"""`wproxy why LOG...`: an error log, of wproxy or of nginx, grouped by the end causes of its requests, with the fix of each.

`lines` reads lines, `causes` finds the end cause of a text, `groups` counts, `report` writes, `command` joins them.
"""
