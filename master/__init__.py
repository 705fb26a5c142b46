"""The deeds of the parent process: bind, fork, watch, reload, quit; and the commands an operator gives it."""
