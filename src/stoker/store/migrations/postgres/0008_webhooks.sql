-- Webhooks: which jobs have one, what their receivers are told, each try, and what it is signed with.

ALTER TABLE jobs ADD COLUMN receiver text;  -- the host of the webhook; NULL for jobs without one
ALTER TABLE ended_jobs ADD COLUMN receiver text;
ALTER TABLE inputs ADD COLUMN dialect text;  -- in whose words it is told
UPDATE inputs SET dialect = 'v2' FROM jobs WHERE jobs.seq = inputs.job AND inputs.webhook IS NOT NULL;
UPDATE jobs SET receiver = 'an earlier version' FROM inputs WHERE jobs.seq = inputs.job AND inputs.webhook IS NOT NULL;

CREATE OR REPLACE VIEW all_jobs AS
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, false AS stream_closed, receiver
  FROM jobs
  UNION ALL
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, stream_closed, receiver
  FROM ended_jobs;

-- One row for each end of a job that has a webhook.
CREATE TABLE notices (
  number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job      text NOT NULL,
  team     text NOT NULL,
  endpoint text NOT NULL,
  lane     text NOT NULL,  -- team and receiver: who waits for whom
  url      text NOT NULL,
  dialect  text NOT NULL,
  ended    text NOT NULL,  -- the job as it ended, in JSON
  state    text NOT NULL DEFAULT 'pending',
  since_ms bigint NOT NULL,  -- from when it is tried
  due_ms   bigint,  -- of the next try; NULL when there is none
  tries    bigint NOT NULL DEFAULT 0,
  told_ms  bigint,
  outlives boolean NOT NULL DEFAULT false,  -- its job is forgotten, and it will be once it is over
  kept     boolean NOT NULL DEFAULT false,  -- what follows is what the job had, which was replaced or forgotten
  input    bytea,
  output   bytea,
  error    bytea
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX notices_of_job ON notices (job);
CREATE INDEX notices_due ON notices (lane, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX notices_by_age ON notices (since_ms) WHERE due_ms IS NOT NULL;

CREATE TABLE notice_tries (
  number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  notice      bigint NOT NULL REFERENCES notices (number) ON DELETE CASCADE,
  at_ms       bigint NOT NULL,
  status      bigint,  -- of the answer; NULL when there was none
  duration_ms bigint NOT NULL,
  error       text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX notice_tries_of_notice ON notice_tries (notice, number);

CREATE TABLE webhook_secrets (
  seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  team         text NOT NULL UNIQUE REFERENCES teams (id),
  secret       text NOT NULL,  -- sealed
  made_ms      bigint NOT NULL,
  old          text,  -- sealed
  old_until_ms bigint
);
