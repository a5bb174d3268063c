"""The hit side, in reading order: views (the blueprint), hits, verdict."""
