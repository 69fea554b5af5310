"""People: users, profiles, tokens and sessions, for pages and the API."""
