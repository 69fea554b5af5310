"""Links that acknowledge an alert once, without signing in.

Enters: a job that is about to be sent. Leaves: the secret part of an address, and what it still permits when somebody
opens it. Nothing is stored: the secret is sealed with the appliance's key, and the timeline of the alert tells whether
it was used. It never permits anything but this one step of this one alert.
"""
