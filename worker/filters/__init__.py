"""Filters of responses, a file per nginx module, and their order.

Each has `NAME_filter(location)`, called once per location when a worker starts. It returns a function from request and response
to response, or None if the location does not use the filter. A location without filters pays nothing. Filters of bodies also have
`unchanged`, which says whether they would leave a body as it is: a body that they change has no parts (Range).
"""
