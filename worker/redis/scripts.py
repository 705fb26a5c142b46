"""The decisions that a Redis or Valkey takes, each in one step: scripts in its Lua.

The server's clock is the only one, so machines need not agree about the time. Every key has an end of its life: a state that says
the same as none takes no room.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple


class Script(NamedTuple):
    """A script and the name that the server knows it by."""

    source: bytes
    sha: bytes


def script(source: str) -> Script:
    """Return the script of this source."""
    code = source.encode()
    return Script(code, sha1(code, usedforsecurity=False).hexdigest().encode())


# `limit_req`, with nginx's arithmetic (routing.md §6). Keys: a state for each limit, "EXCESS MILLISECOND". Arguments: rate and
# burst of each, in thousandths of a request (per second). Returns the excess of each; a request that one refuses is not counted.
COUNT_REQUEST = script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local excesses, moments, passes = {}, {}, true
for i, key in ipairs(KEYS) do
    local excess, moment = 0, now
    local before, last = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
    if before then
        local elapsed = now - last
        if elapsed < -60000 then
            elapsed = 1
        elseif elapsed <= 0 then
            elapsed, moment = 0, tonumber(last)
        end
        excess = math.max(0, before - math.floor(ARGV[2 * i - 1] * elapsed / 1000) + 1000)
    end
    excesses[i], moments[i] = excess, moment
    passes = passes and excess <= tonumber(ARGV[2 * i])
end
if passes then
    for i, key in ipairs(KEYS) do
        local life = math.ceil((excesses[i] + 1000) * 1000 / ARGV[2 * i - 1]) + 1
        redis.call('SET', key, string.format('%d %d', excesses[i], moments[i]), 'PX', string.format('%d', life))
    end
end
return excesses
""")

# `limit_conn`. A hash for each key has the requests under way of each worker that has some; a worker lives as long as the key of
# its lease. Arguments: the worker, the beginning of the names of leases, the life of a hash in milliseconds, and the most of each
# key. Returns the requests that are under way already; one that a limit refuses is not counted.
TAKE = script("""
local totals, passes = {}, true
for i, key in ipairs(KEYS) do
    local total, counts = 0, redis.call('HGETALL', key)
    for j = 1, #counts, 2 do
        if counts[j] == ARGV[1] or redis.call('EXISTS', ARGV[2] .. counts[j]) == 1 then
            total = total + counts[j + 1]
        else
            redis.call('HDEL', key, counts[j])
        end
    end
    totals[i] = total
    passes = passes and total < tonumber(ARGV[3 + i])
end
if passes then
    for _, key in ipairs(KEYS) do
        redis.call('HINCRBY', key, ARGV[1], 1)
        redis.call('PEXPIRE', key, ARGV[3])
    end
end
return totals
""")

# The end of a request that TAKE has counted. Argument: the worker.
GIVE_BACK = script("""
for _, key in ipairs(KEYS) do
    if redis.call('HINCRBY', key, ARGV[1], -1) <= 0 then
        redis.call('HDEL', key, ARGV[1])
    end
end
return 0
""")

# The requests that a worker has under way when it begins to count. Arguments: the worker, the life of a hash, each key's count.
HOLD = script("""
for i, key in ipairs(KEYS) do
    redis.call('HSET', key, ARGV[1], ARGV[2 + i])
    redis.call('PEXPIRE', key, ARGV[2])
end
return 0
""")

SCRIPTS = (COUNT_REQUEST, TAKE, GIVE_BACK, HOLD)
