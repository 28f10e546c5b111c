-- How much a team, or one of its endpoints, may cost, and how far that is used up.

CREATE TABLE budgets (
  team          text NOT NULL REFERENCES teams (id),
  endpoint      text NOT NULL,  -- empty for the whole team
  span          text NOT NULL,
  warn_micros   bigint,  -- millionths of the operator's currency; NULL where there is no such amount
  queue_micros  bigint,
  refuse_micros bigint,
  spent_micros  bigint NOT NULL,
  began_ms      bigint NOT NULL,  -- of the day or month in which that was spent
  PRIMARY KEY (team, endpoint)
);
