"""Access logs, and the lines of error logs about requests.

formats.py   a log_format, compiled to a function from a finished request to its line
files.py     one file of an access log: lines gather for it and are written together
access.py    all access logs of a worker
errors.py    all error logs of a worker, and lines about a request
syslog.py    the sockets to syslog
"""

from worker.logs.access import FLUSH_PAUSE, AccessLogs, Write
from worker.logs.errors import ErrorLogs, announcer, log_end, log_request
from worker.logs.files import LogFile
from worker.logs.formats import compile_format, escape_default, escape_json, escape_none, shown

__all__ = [
    "FLUSH_PAUSE",
    "AccessLogs",
    "ErrorLogs",
    "LogFile",
    "Write",
    "announcer",
    "compile_format",
    "escape_default",
    "escape_json",
    "escape_none",
    "log_end",
    "log_request",
    "shown",
]
