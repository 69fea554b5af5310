"""Running services: started in order, watched while they run, stopped in reverse.

Enters: services, each ``async def run(*, task_status)``. Leaves: their status. Never: knowledge of what a service
does.
"""
