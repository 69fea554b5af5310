"""The pages before the sign-in: signing in, one-time links, and the set-up of an appliance that nobody has yet."""
