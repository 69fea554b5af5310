-- No statement and no default asks the database for the time: every time is handed in.

SELECT 1;
