"""Every change of seats, one device or many at a time, in one place, with one order of locks."""
