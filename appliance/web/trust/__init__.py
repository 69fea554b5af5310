"""How people and devices come to trust the appliance: its CA to download, and what to do with it."""
