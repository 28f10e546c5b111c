-- Views: filters of jobs that a team has given a name.

CREATE TABLE views (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  team       text NOT NULL REFERENCES teams (id),
  name       text NOT NULL,
  filters    text NOT NULL,  -- JSON
  updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX views_by_name ON views (team, name);
