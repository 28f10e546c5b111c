-- Views: filters of jobs that a team has given a name.

CREATE TABLE views (
  seq        INTEGER PRIMARY KEY,
  team       TEXT NOT NULL REFERENCES teams (id),
  name       TEXT NOT NULL,
  filters    TEXT NOT NULL,  -- JSON
  updated_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX views_by_name ON views (team, name);
