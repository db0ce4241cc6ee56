"""The command line, one file a command.

May import: everything. Nothing imports it but `python -m percbal`.
"""

from percbal.cli.main import main

__all__ = ["main"]
