-- Jobs are written beside the events of alerts.
SELECT 1;
