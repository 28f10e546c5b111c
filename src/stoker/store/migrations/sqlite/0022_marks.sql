-- How far those have read the ledger who tell others of it.

CREATE TABLE marks (
  name     TEXT PRIMARY KEY,
  position TEXT NOT NULL,
  at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
