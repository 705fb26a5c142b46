"""HTTP/2 with clients (http2-rules.md; protocols.md §2).

`serve.py` is the life of a connection, `connection.py` obeys the frames of its client, `sender.py` sends, `exchange.py` is one
request and its way back, `body.py` its body, `response.py` writes heads, `tunnel.py` has websockets over a stream. What needs no
socket (frames, field blocks, windows, states, budgets) is in `worker/http2/`.
"""
