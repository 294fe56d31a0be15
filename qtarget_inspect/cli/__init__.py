"""The command line, `qtarget-inspect`: one file a command; what is heavy is imported inside the commands."""
