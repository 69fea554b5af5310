"""Silence: the alerts that no reading opens, but that none comes.

Enters: what the database knows of devices - when each was heard, and when appliances listened - and the rules of the
kind ``no_data``, the built-in one of every tenant included. Leaves: alerts NO_HEARTBEAT, NO_DATA and SITE_SILENT,
opened, closed, inhibited and released, with their timelines. Never: a reading; an alert while the clock is in doubt.

- :mod:`rules` - what is asked; :mod:`device` - what is known of a device that may be silent
- :mod:`judgement` - whether it is, a pure step; :mod:`site` - when a whole site is, the same
- :mod:`store` and :mod:`sites` - rows; :mod:`timer` - the rounds
- :mod:`unread` - since when nothing came that could end an alert of another kind

Theory. Silence is counted as presence is (``appliance.devices.live.presence``): as far as the appliance listened that
heard the device last. What begins a silence is its name: the time at which the device was last heard is the
``started_at`` of the alert, and an alert that a person closed opens anew only for another silence, or a day later. So
nothing has to be remembered between two rounds, and whoever makes the next round comes to the same conclusions.
"""
