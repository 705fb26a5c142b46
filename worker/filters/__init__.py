"""Filters of responses, a file per nginx module, and their order.

Each has `NAME_filter(location)`, asked once per location when a worker starts: a function from request and response to
response, or None where the location does not use it. A location that uses none pays nothing. Filters of bodies tell besides, by
`unchanged`, whether they would leave one as it is: what they change has no parts (Range).
"""
