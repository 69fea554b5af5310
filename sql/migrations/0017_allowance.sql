-- The allowance: what a device may send late.

SELECT 1;
