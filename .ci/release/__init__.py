"""What makes a release of a checkout: the single file, the bill of materials, the third-party notices.

Enters: the checkout, the installed packages, the system's list of packages. Leaves: files. Nothing in it is part of the
program, and nothing in it fetches anything.
"""
