-- One grammar for the ids of sites.

SELECT 1;
