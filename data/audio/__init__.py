"""Recordings: found, decoded, and packed once for fast reading."""
