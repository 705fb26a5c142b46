"""Names to addresses while the server runs, without ever blocking it. Nothing here calls getaddrinfo.

exchange.py    one question to one name server, over UDP and, where the answer is too long for that, TCP
lookup.py      one question to several servers: whom next, and when to give up
resolver.py    names to addresses: both families at once, aliases, a bounded cache, one lookup under way for each name
system.py      the same by /etc/hosts and /etc/resolv.conf, which are read again when they change
services.py    SRV records: what stands behind `service=`
discovery.py   groups of peers that follow their names; the groups of targets that only a request names
records.py     which shared record of health belongs to a peer that nobody knew at the start
"""
