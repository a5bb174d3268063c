"""The hit side, in reading order: door, views (the blueprint), hits, verdict."""
