"""The command line in this process, for tests of jobs as their verbs run them."""

from command_line import cli, loads  # noqa: F401
from sharded_builds import build, source  # noqa: F401
