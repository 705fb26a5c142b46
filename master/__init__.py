"""The work of the parent process: bind, fork, watch, reload, quit; and the commands that an operator gives it."""
