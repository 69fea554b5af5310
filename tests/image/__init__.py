"""The image: what can be read in its files, in the suite, and ``make image``, which builds it and tries it."""
