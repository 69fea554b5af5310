"""TLS for the dashboard and for devices: our own authority and the certificates it issues, or certificates by file.

Enters: the names and addresses of this machine, service time, files of the configuration. Leaves: for each of the two
listeners a file with a certificate and its key that were checked to fit together, and a call when it has changed.
Never: a socket, a file that is half written, a certificate with a name that our authority may not sign, and no renewal
while the clock is in doubt.

``names``, ``authority``, ``pair`` and ``dates`` are pure; ``own`` and ``by_file`` keep the files, ``certificates`` is
the service.
"""
