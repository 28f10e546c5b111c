-- How far those have read the ledger who tell others of it.

CREATE TABLE marks (
  name     text PRIMARY KEY,
  position text NOT NULL,
  at_ms    bigint NOT NULL
);
