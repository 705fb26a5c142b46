"""Names to addresses while the server runs, without ever blocking it. Nothing here calls getaddrinfo.

exchange.py    one question to one name server, over UDP and, where the answer is too long for that, TCP
lookup.py      one question to several servers: which is next, and when to give up
resolver.py    names to addresses: both families at once, aliases, a bounded cache, one active lookup for each name
system.py      the same with /etc/hosts and /etc/resolv.conf, which are reread when they change
services.py    SRV records, for `service=`
discovery.py   groups of peers that follow their names; the groups of targets that only a request names
records.py     shared health records for peers that were unknown at the start
"""
