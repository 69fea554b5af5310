-- Readings are dropped by age, a day at a time.

SELECT 1;
