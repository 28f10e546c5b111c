-- The ledger of usage: what workers and volumes cost, by hour; what of a worker's time is not in it yet; and who submitted a job.

CREATE TABLE usage (
  team          text NOT NULL,
  hour_ms       bigint NOT NULL,  -- the hour's beginning
  endpoint      text NOT NULL,  -- empty for storage, and so on
  release       text NOT NULL,
  specification text NOT NULL,
  price_micros  bigint NOT NULL,  -- of an hour, in millionths of the operator's currency
  use           text NOT NULL,
  key           text NOT NULL,  -- empty for time that is nobody's
  volume        text NOT NULL,
  ms            bigint NOT NULL,  -- of a worker, or of a GiB in a volume
  PRIMARY KEY (team, hour_ms, endpoint, release, specification, price_micros, use, key, volume)
);
CREATE INDEX usage_by_age ON usage (hour_ms);

ALTER TABLE workers ADD COLUMN meter text;  -- in JSON; NULL before the first take, and for workers of an earlier version
ALTER TABLE workers ADD COLUMN unmetered boolean NOT NULL DEFAULT false;
CREATE INDEX workers_unmetered ON workers (seq) WHERE unmetered;
-- Time before this version does not count: workers that are up begin where they were seen last.
UPDATE workers SET meter = '[' || coalesce(seen_ms, ready_ms) || ']', unmetered = true
  WHERE ready_ms IS NOT NULL AND stopped_ms IS NULL AND gone_ms IS NULL;

ALTER TABLE jobs ADD COLUMN key text;  -- the API key that submitted it
ALTER TABLE ended_jobs ADD COLUMN key text;

CREATE OR REPLACE VIEW all_jobs AS
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, false AS stream_closed, receiver, key
  FROM jobs
  UNION ALL
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, stream_closed, receiver, key
  FROM ended_jobs;

ALTER TABLE volumes ADD COLUMN metered_ms bigint;  -- until when what it stored is in the ledger; NULL: it begins with the volume
UPDATE volumes SET metered_ms = coalesce(measured_ms, updated_ms);  -- what was before this version does not count
