"""Recording the decisions about requests that are served (`explain_ring`, `explain_secret`); others import none of this."""
