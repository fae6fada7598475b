"""Benchmarks for `make bench`, which print each figure beside a reference from the same run."""

# Settings of the site under which it answers as often as it is asked.
WITHOUT_LIMITS = dict.fromkeys(
    ("API_RATE_ANONYMOUS", "PAGE_RATE_ANONYMOUS", "PAGE_RATE_REFRESHES"), "none"
)
