"""The bill of materials: every package that the program runs with, with version, licence and hash, as CycloneDX has it.

Enters: the metadata of installed Python packages, the list of the system's packages where it has one of Debian's kind.
Leaves: one JSON document of CycloneDX 1.6, the same for the same packages. Never: anything from the network, or a file
of the data folder.

Of our own, because the tools that there are read Python packages or Debian's, and neither the single file: it is 200
lines, which a test holds against the published schema.
"""
