"""Texts of OpenSSL's errors that depend on its version."""

from __future__ import annotations

import ssl

IS_3_2 = ssl.OPENSSL_VERSION_INFO >= (3, 2)
# Since 3.2 there are two reasons for a record that is wrong, and Python tells of the second one.
BAD_RECORD = (
    "0A000139:SSL routines::record layer failure" if IS_3_2 else "0A000119:SSL routines::decryption failed or bad record mac"
)
# The beginning of the alerts that are as old as SSL 3.
OLD_ALERT = "ssl/tls alert" if IS_3_2 else "sslv3 alert"
