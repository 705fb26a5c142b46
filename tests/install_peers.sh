#!/bin/sh
# Installs the programs that the tests and the benchmark use as peers, when root and where apt exists; says what is missing
# otherwise. Their tests are skipped by name where a peer is absent.
set -u
missing=""
for pair in node:nodejs nginx:nginx-light wrk:wrk curl:curl chromium:chromium logrotate:logrotate h2load:nghttp2-client redis-server:redis-server strace:strace valgrind:valgrind; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
# Newer systems have Valkey beside Redis.
command -v valkey-server >/dev/null 2>&1 || ! apt-cache show valkey-server >/dev/null 2>&1 || missing="$missing valkey-server"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing test peers:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # The peers are started by the tests on free ports; the package must not start a server of its own.
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; made=1; }
    apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $missing >/dev/null
    [ -z "${made:-}" ] || rm -f /usr/sbin/policy-rc.d
else
    echo "not root: the tests that need$missing will be skipped"
fi
exit 0
