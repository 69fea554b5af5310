"""The kinds of rules. A kind is one module with a pure step, and one entry in ``appliance.alerts.kinds.table``."""
