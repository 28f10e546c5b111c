-- Whose trace a job belongs to, for clients that sent theirs. Rows live as long as their jobs at most.

CREATE TABLE trace_parents (
  job   TEXT PRIMARY KEY,
  trace TEXT NOT NULL,
  span  TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trace_parents_by_age ON trace_parents (at_ms);
