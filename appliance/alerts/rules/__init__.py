"""Rules: when an alert opens and closes. Made, changed and deleted by people; judged by the engine and the timers."""
