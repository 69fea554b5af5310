-- Links that acknowledge an alert once, without signing in.
SELECT 1;
