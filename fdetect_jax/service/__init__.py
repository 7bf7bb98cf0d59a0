"""The web service: API, page, job queue and workers."""
