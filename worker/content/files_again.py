"""Files for heads that come again on their connection (worker/client/http1/repeated_answer.py).

A file is opened and looked at each time, as always; what is known of it is the head that static.py has made.
"""

from __future__ import annotations

import os

from worker.content.open_files import FILE, FLAGS, KIND
from worker.content.static import SMALL
from worker.loop import FAIR_SHARE
from wproxy.config.model import Location
from wproxy.http import FieldsLike, RequestLineLike
from wproxy.route import Again, AnswerAgain


def sending_again(location: Location) -> Again | None:
    """Return what answers with files whose heads are known; None for a location in which more than the URI decides."""
    files = location.files
    if files.root is None or files.whole or location.disable_symlinks is not None or location.open_file_cache is not None:
        return None
    if location.aio or location.directio:
        return None
    heads = files.heads
    # Up to this size the kernel sends a file in one call (FileBody.pass_on).
    most = min(location.sendfile_max_chunk or FAIR_SHARE, FAIR_SHARE) if location.sendfile else 0

    def again(line: RequestLineLike, fields: FieldsLike, by_kernel: bool) -> AnswerAgain | None:
        known = heads.get(line.path)
        # The first time the whole way has looked for conditions.
        if known is None or fields.cache.get("conditions", known) is not None:
            return None
        head, size, modified, stands_in, path = known
        if stands_in or (size > SMALL and (size > most or not by_kernel)):
            return None
        try:
            fd = os.open(path, FLAGS)
        except OSError:
            return None  # the whole way says what is wrong
        try:
            facts = os.fstat(fd)
            if facts.st_size == size and facts[8] == modified and facts.st_mode & KIND == FILE:
                if size > SMALL:
                    answer, fd = (head, b"", (path, fd)), -1
                    return answer
                body = os.pread(fd, size, 0)
                if len(body) == size:
                    return head, body, None
        except OSError:
            pass
        finally:
            if fd >= 0:
                os.close(fd)
        return None

    return again
