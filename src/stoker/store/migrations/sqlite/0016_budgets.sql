-- How much a team, or one of its endpoints, may cost, and how far that is used up.

CREATE TABLE budgets (
  team          TEXT NOT NULL REFERENCES teams (id),
  endpoint      TEXT NOT NULL,  -- empty for the whole team
  span          TEXT NOT NULL,
  warn_micros   INTEGER,  -- millionths of the operator's currency; NULL where there is no such amount
  queue_micros  INTEGER,
  refuse_micros INTEGER,
  spent_micros  INTEGER NOT NULL,
  began_ms      INTEGER NOT NULL,  -- of the day or month in which that was spent
  PRIMARY KEY (team, endpoint)
) STRICT, WITHOUT ROWID;
