"""What tests share: servers as fixtures, processes to start and kill, and ready-made tenants, messages and people.

Enters: a database or a running appliance. Leaves: connections, fixtures, processes. Never: a test, or an assertion
about one feature alone; a table of cases lies beside the tests that go through it.
"""
