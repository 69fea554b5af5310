"""How services live: started in order, watched while they run, stopped in reverse.

Enters: services, each ``async def run(*, task_status)``. Leaves: their status, for whoever looks. Never: knowledge of
what a service does.
"""
