"""TLS contexts: from the directives of a server to what OpenSSL needs, made by the master before it forks.

The tables of directives are in `wproxy.directives`; nothing here is imported before a configuration has certificates.
"""
