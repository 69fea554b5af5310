-- The service time: what an appliance trusts of its clock.

SELECT 1;
