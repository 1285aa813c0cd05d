"""Cachegate: an async caching HTTP gateway."""
