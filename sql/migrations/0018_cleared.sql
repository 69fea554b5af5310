-- Topics that were cleared have a column of their own in the ledger.

SELECT 1;
