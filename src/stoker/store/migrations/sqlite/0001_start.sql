-- The first schema. Times are integer milliseconds since the Unix epoch, ids are texts, flags are 0 or 1.
-- `seq` columns are the order of arrival; bodies lie apart from the rows that every transition rewrites.

CREATE TABLE teams (
  seq        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
  seq         INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  team        TEXT NOT NULL REFERENCES teams (id),
  name        TEXT NOT NULL,
  scopes      TEXT NOT NULL,  -- words joined by spaces
  secret_hash TEXT NOT NULL UNIQUE,
  created_ms  INTEGER NOT NULL,
  revoked_ms  INTEGER
) STRICT;
CREATE INDEX api_keys_of_team ON api_keys (team, seq);

CREATE TABLE endpoints (
  seq                  INTEGER PRIMARY KEY,
  id                   TEXT NOT NULL UNIQUE,
  team                 TEXT NOT NULL REFERENCES teams (id),
  name                 TEXT NOT NULL,
  app_name             TEXT NOT NULL,
  release              TEXT NOT NULL REFERENCES releases (id) DEFERRABLE INITIALLY DEFERRED,
  min_workers          INTEGER NOT NULL,
  max_workers          INTEGER NOT NULL,
  idle_timeout_s       INTEGER NOT NULL,
  slots                INTEGER NOT NULL,
  policy_type          TEXT NOT NULL,
  policy_value         INTEGER NOT NULL,
  execution_timeout_ms INTEGER NOT NULL,
  ttl_ms               INTEGER NOT NULL,
  retries              INTEGER NOT NULL,
  retention_s          INTEGER NOT NULL,
  version              INTEGER NOT NULL,
  created_ms           INTEGER NOT NULL,
  deleted_ms           INTEGER
) STRICT;
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (team, name) WHERE deleted_ms IS NULL;

CREATE TABLE releases (
  seq             INTEGER PRIMARY KEY,
  id              TEXT NOT NULL UNIQUE,
  endpoint        TEXT NOT NULL REFERENCES endpoints (id) DEFERRABLE INITIALLY DEFERRED,
  number          INTEGER NOT NULL,
  image           TEXT NOT NULL,
  command         TEXT NOT NULL,
  env             TEXT NOT NULL,  -- a JSON object
  gpus_per_worker INTEGER NOT NULL,
  created_ms      INTEGER NOT NULL,
  digest          TEXT NOT NULL DEFAULT '',  -- what the image's tag meant at the first launch
  forgiven_ms     INTEGER NOT NULL DEFAULT 0,  -- launches that failed before do not count
  container       TEXT NOT NULL DEFAULT '{}',  -- a JSON object: what only containers know
  UNIQUE (endpoint, number)
) STRICT;

CREATE TABLE jobs (
  seq                INTEGER PRIMARY KEY,
  id                 TEXT NOT NULL UNIQUE,
  team               TEXT NOT NULL,
  endpoint           TEXT NOT NULL,
  state              TEXT NOT NULL,
  reason             TEXT NOT NULL,
  low_priority       INTEGER NOT NULL,
  created_ms         INTEGER NOT NULL,
  queued_ms          INTEGER NOT NULL,
  expires_ms         INTEGER NOT NULL,
  execution_limit_ms INTEGER NOT NULL,
  retention_ms       INTEGER NOT NULL,
  retry_limit        INTEGER NOT NULL,
  attempt            INTEGER NOT NULL,
  losses             INTEGER NOT NULL,
  worker             TEXT,
  claimed_ms         INTEGER,
  confirmed_ms       INTEGER,
  lease_until_ms     INTEGER,
  finished_ms        INTEGER,
  deadline_ms        INTEGER,
  purge_ms           INTEGER,
  stream_closed      INTEGER NOT NULL DEFAULT 0,
  webhook            TEXT,
  s3_config          BLOB
) STRICT;
-- What a claim walks: it holds the waiting jobs only, so its cost does not depend on how many there are.
CREATE INDEX jobs_queued ON jobs (endpoint, low_priority, seq) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_ended ON jobs (endpoint, state, seq) WHERE finished_ms IS NOT NULL;
CREATE INDEX jobs_of_endpoint ON jobs (endpoint, seq);
CREATE INDEX jobs_due ON jobs (deadline_ms) WHERE deadline_ms IS NOT NULL;
CREATE INDEX jobs_outlived ON jobs (purge_ms) WHERE purge_ms IS NOT NULL;

CREATE TABLE inputs (
  job   INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  input BLOB NOT NULL
) STRICT;

CREATE TABLE outputs (
  job    INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
  output BLOB,
  error  BLOB  -- UTF-8; handlers may send half of a surrogate pair, which a text cannot hold
) STRICT;

CREATE TABLE parts (
  seq  INTEGER PRIMARY KEY,
  job  INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
  part BLOB NOT NULL
) STRICT;
CREATE INDEX parts_of_job ON parts (job, seq);

CREATE TABLE submit_keys (
  endpoint  TEXT NOT NULL,
  key       TEXT NOT NULL,
  job       TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  PRIMARY KEY (endpoint, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX submit_keys_by_age ON submit_keys (at_ms);

CREATE TABLE stops (
  worker   TEXT NOT NULL,
  job      TEXT NOT NULL,
  asked_ms INTEGER NOT NULL,
  told_ms  INTEGER,
  PRIMARY KEY (worker, job)
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
  endpoint   TEXT PRIMARY KEY,
  queued     INTEGER NOT NULL,
  queued_low INTEGER NOT NULL,
  running    INTEGER NOT NULL,
  completed  INTEGER NOT NULL,
  failed     INTEGER NOT NULL,
  cancelled  INTEGER NOT NULL,
  timed_out  INTEGER NOT NULL,
  retried    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
  seq         INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  team        TEXT NOT NULL,
  endpoint    TEXT NOT NULL REFERENCES endpoints (id),
  release     TEXT NOT NULL REFERENCES releases (id),
  state       TEXT NOT NULL,
  reason      TEXT NOT NULL,
  detail      TEXT NOT NULL,
  token_hash  TEXT NOT NULL UNIQUE,
  gpus        TEXT NOT NULL,  -- a JSON array
  decided_ms  INTEGER NOT NULL,
  launched_ms INTEGER,
  ready_ms    INTEGER,
  idle_ms     INTEGER,
  drained_ms  INTEGER,
  stopped_ms  INTEGER,
  gone_ms     INTEGER,
  seen_ms     INTEGER,
  pinged_ms   INTEGER,
  sdk         TEXT NOT NULL,
  exit_code   INTEGER,
  exit_text   TEXT
) STRICT;
CREATE INDEX workers_alive ON workers (endpoint, seq) WHERE gone_ms IS NULL;
CREATE INDEX workers_gone ON workers (endpoint, gone_ms) WHERE gone_ms IS NOT NULL;
CREATE INDEX workers_by_end ON workers (gone_ms) WHERE gone_ms IS NOT NULL;
CREATE INDEX workers_of_release ON workers (release);

CREATE TABLE decisions (
  endpoint TEXT PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  reason   TEXT NOT NULL,
  text     TEXT NOT NULL,
  wanted   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledger. Lines of jobs name them by `jobs.seq`: eight bytes in the index instead of a long random text.
CREATE TABLE story (
  seq      INTEGER PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  team     TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  job      INTEGER,
  worker   TEXT,
  kind     TEXT NOT NULL,
  state    TEXT NOT NULL,
  reason   TEXT NOT NULL,
  attempt  INTEGER,
  text     TEXT NOT NULL
) STRICT;
CREATE INDEX story_of_job ON story (job) WHERE job IS NOT NULL;
CREATE INDEX story_of_worker ON story (worker) WHERE job IS NULL;
