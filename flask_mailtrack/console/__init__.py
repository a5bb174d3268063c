"""The operator's pages: over reports and administration, behind the host's own login."""
