"""The command line in this process."""

from command_line import cli, loads  # noqa: F401
