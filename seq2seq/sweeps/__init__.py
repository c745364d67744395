"""Many runs from one command line: where their jobs are done, and what is tried next."""
