"""Real applications, each behind the configuration that an expert would write for it, and that file under the real nginx, too.

A folder for each application has its sources, its configuration and its tests; `install.sh` gets what they need (`make
applications` runs both). `programs` starts and ends processes, `fronts` are nginx and wproxy on one file, `client` asks them,
`masks` takes away what differs from run to run. A test leads one flow through all fronts: they must give the same, and the
right thing.
"""

import pytest

pytest.register_assert_rewrite("applications.fronts", "applications.client", "applications.programs")
