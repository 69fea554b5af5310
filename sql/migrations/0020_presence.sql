-- Presence: never heard, and the instance that heard a device last.

SELECT 1;
