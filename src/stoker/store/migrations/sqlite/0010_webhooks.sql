-- Webhooks: which jobs have one, what their receivers are told, each try, and what it is signed with.

ALTER TABLE jobs ADD COLUMN receiver TEXT;  -- the host of the webhook; NULL for jobs without one
ALTER TABLE jobs ADD COLUMN dialect TEXT;  -- in whose words it is told
UPDATE jobs SET receiver = 'an earlier version', dialect = 'v2' WHERE webhook IS NOT NULL AND finished_ms IS NULL;

-- One row for each end of a job that has a webhook.
CREATE TABLE notices (
  number   INTEGER PRIMARY KEY,
  job      TEXT NOT NULL,
  team     TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  lane     TEXT NOT NULL,  -- team and receiver: who waits for whom
  url      TEXT NOT NULL,
  dialect  TEXT NOT NULL,
  ended    TEXT NOT NULL,  -- the job as it ended, in JSON
  state    TEXT NOT NULL DEFAULT 'pending',
  since_ms INTEGER NOT NULL,  -- from when it is tried
  due_ms   INTEGER,  -- of the next try; NULL when there is none
  tries    INTEGER NOT NULL DEFAULT 0,
  told_ms  INTEGER,
  outlives INTEGER NOT NULL DEFAULT 0,  -- its job is forgotten, and it will be once it is over
  kept     INTEGER NOT NULL DEFAULT 0,  -- what follows is what the job had, which was replaced or forgotten
  input    BLOB,
  output   BLOB,
  error    BLOB
) STRICT;
CREATE INDEX notices_of_job ON notices (job);
CREATE INDEX notices_due ON notices (lane, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX notices_by_age ON notices (since_ms) WHERE due_ms IS NOT NULL;

CREATE TABLE notice_tries (
  number      INTEGER PRIMARY KEY,
  notice      INTEGER NOT NULL REFERENCES notices (number) ON DELETE CASCADE,
  at_ms       INTEGER NOT NULL,
  status      INTEGER,  -- of the answer; NULL when there was none
  duration_ms INTEGER NOT NULL,
  error       TEXT NOT NULL
) STRICT;
CREATE INDEX notice_tries_of_notice ON notice_tries (notice, number);

CREATE TABLE webhook_secrets (
  seq          INTEGER PRIMARY KEY,
  team         TEXT NOT NULL UNIQUE REFERENCES teams (id),
  secret       TEXT NOT NULL,  -- sealed
  made_ms      INTEGER NOT NULL,
  old          TEXT,  -- sealed
  old_until_ms INTEGER
) STRICT;
