"""The test application on Flask, for gunicorn.

/seen answers with what of the request the application saw, /digest with the SHA-256 of the body, /bytes/N with N bytes of
known length, /stream/N with N bytes of unknown length, /status/N with that status.
"""

import hashlib

from flask import Flask, Response, jsonify, request

app = Flask(__name__)
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


@app.route("/seen", methods=METHODS, provide_automatic_options=False)
def seen():
    body = request.get_data()
    return jsonify(
        method=request.method,
        target=request.environ["RAW_URI"],
        fields=[[name.lower(), value] for name, value in request.headers.items()],
        length=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )


@app.route("/digest", methods=["POST", "PUT"])
def digest():
    found, length = hashlib.sha256(), 0
    while piece := request.stream.read(65536):
        found.update(piece)
        length += len(piece)
    return jsonify(length=length, sha256=found.hexdigest())


@app.route("/bytes/<int:size>")
def known_length(size):
    return Response(pattern(size), mimetype="application/octet-stream")


@app.route("/stream/<int:size>")
def unknown_length(size):
    data = pattern(size)
    return Response((data[at : at + 50000] for at in range(0, size, 50000)), mimetype="application/octet-stream")


@app.route("/status/<int:status>", methods=METHODS)
def any_status(status):
    return Response(b"" if status in (204, 304) else b"status %d" % status, status=status)


def pattern(size):
    """Bytes that do not repeat soon."""
    block = b"".join(b"%08d" % number for number in range(8192))
    return (block * (size // len(block) + 1))[:size]
