"""The deeds of one worker process: its loop, its connections and its upstream pools."""
