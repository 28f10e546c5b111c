-- Leases by name: who may do what only one server does at a time.

CREATE TABLE named_leases (
  name     TEXT PRIMARY KEY,
  holder   TEXT NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
