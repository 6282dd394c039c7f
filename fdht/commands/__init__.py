"""The commands, one a file: what each is called, its options, the call that does the work, and what it reports."""
