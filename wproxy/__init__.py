"""The words of wproxy: configuration, directives, variables, matching and values.

The rule of rooms: nothing in here opens a socket, forks or looks at a clock; `master` and `worker` do the work and import, of our
packages, only this one; `wproxy.__main__` joins the three.
"""

from wproxy.version import VERSION

__version__ = VERSION
