-- The ledger of usage: what workers and volumes cost, by hour; what of a worker's time is not in it yet; and who submitted a job.

CREATE TABLE usage (
  team          TEXT NOT NULL,
  hour_ms       INTEGER NOT NULL,  -- the hour's beginning
  endpoint      TEXT NOT NULL,  -- empty for storage, and so on
  release       TEXT NOT NULL,
  specification TEXT NOT NULL,
  price_micros  INTEGER NOT NULL,  -- of an hour, in millionths of the operator's currency
  use           TEXT NOT NULL,
  key           TEXT NOT NULL,  -- empty for time that is nobody's
  volume        TEXT NOT NULL,
  ms            INTEGER NOT NULL,  -- of a worker, or of a GiB in a volume
  PRIMARY KEY (team, hour_ms, endpoint, release, specification, price_micros, use, key, volume)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_age ON usage (hour_ms);

ALTER TABLE workers ADD COLUMN meter TEXT;  -- in JSON; NULL before the first take, and for workers of an earlier version
ALTER TABLE workers ADD COLUMN unmetered INTEGER NOT NULL DEFAULT 0;
CREATE INDEX workers_unmetered ON workers (seq) WHERE unmetered = 1;
-- Time before this version does not count: workers that are up begin where they were seen last.
UPDATE workers SET meter = '[' || coalesce(seen_ms, ready_ms) || ']', unmetered = 1
  WHERE ready_ms IS NOT NULL AND stopped_ms IS NULL AND gone_ms IS NULL;

ALTER TABLE jobs ADD COLUMN key TEXT;  -- the API key that submitted it

ALTER TABLE volumes ADD COLUMN metered_ms INTEGER;  -- until when what it stored is in the ledger; NULL: it begins with the volume
UPDATE volumes SET metered_ms = coalesce(measured_ms, updated_ms);  -- what was before this version does not count
