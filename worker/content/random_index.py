"""random_index: one of a directory's files, chosen at random (nginx: src/http/modules/ngx_http_random_index_module.c)."""

from __future__ import annotations

import errno
import os
import random

from worker.content.index import METHODS, fail
from worker.content.open_files import NOT_FOUND, failed
from worker.logs import log_end, log_request
from worker.pages import error_response
from wproxy.config.model import Location
from wproxy.files import Unmappable, shown_path
from wproxy.http import Jump, Request, Response
from wproxy.route import Handler


def choosing_index(location: Location) -> Handler | None:
    """Return the handler of a location with random_index; None for any other."""
    if not location.random_index:
        return None
    plan = location.files

    async def choose_index(request: Request) -> Response | Jump | None:
        if not request.path.endswith(b"/") or request.method not in METHODS:
            return None
        try:
            directory = plan.path(request)
            names = files_in(directory)
        except Unmappable as refusal:
            log_request(request, refusal.level, refusal.reason)
            return error_response(request, refusal.status, request.route.server_token)
        except OSError as error:
            return refuse(request, directory, error)
        return Jump(request.path + random.choice(names), request.args) if names else None

    return choose_index


def files_in(directory: bytes) -> list[bytes]:
    """Return the names of the files in a directory, without those that begin with a dot, and without links. Raises OSError."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(b".") and entry.is_file(follow_symlinks=False)]


def refuse(request: Request, directory: bytes, error: OSError) -> Response:
    """Answer 404 for a directory that is not there, 403 for one that may not be read."""
    text = failed("opendir", shown_path(directory.rstrip(b"/")), error)
    if error.errno not in NOT_FOUND and error.errno != errno.EACCES:
        return fail(request, text, "crit")
    if error.errno == errno.EACCES:
        log_end(request, "error", text, "file")
    else:
        log_request(request, "error", text)
    return error_response(request, 403 if error.errno == errno.EACCES else 404, request.route.server_token)
