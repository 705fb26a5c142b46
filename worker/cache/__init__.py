"""The cache of responses at work: one worker's part of it, and the processes that look after the files."""
