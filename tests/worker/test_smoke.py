from conversation import get, ok, sent_up, to_client, refusal, error_page


def test_smoke(stage):
    s = stage()
    c = s.client()
    c.send(get())
    u = s.peers[0].accept()
    u.receives(sent_up())
    u.send(ok())
    c.receives(to_client())
    assert c.is_open()
    c.send(get(b"/2"))
    u.receives(sent_up(b"/2"))
    u.send_slowly(ok(b"hello"))
    c.receives(to_client(b"hello"))
    c.send(b"BAD\r\n\r\n")
    c.receives(refusal(400))
    c.close()
    print(s.access_log())
    print(s.error_log())


def test_unreach(stage):
    s = stage()
    s.peers[0].refuse()
    c = s.client(tcp=True)
    c.send(get())
    c.receives(error_page(502))
    print(s.access_log())
    print(s.error_log())
