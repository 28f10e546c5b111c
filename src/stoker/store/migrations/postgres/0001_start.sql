-- The first schema. Times are integer milliseconds since the Unix epoch, ids are texts.
-- `seq` columns are the order of arrival; bodies lie apart from the rows that every transition rewrites.
-- Jobs that wait or run are in `jobs`, which stays small; those that ended are moved to `ended_jobs`. Why: docs/decisions.

CREATE TABLE teams (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text NOT NULL UNIQUE,
  name       text NOT NULL,
  created_ms bigint NOT NULL
);

CREATE TABLE api_keys (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text NOT NULL UNIQUE,
  team        text NOT NULL REFERENCES teams (id),
  name        text NOT NULL,
  scopes      text NOT NULL,  -- words joined by spaces
  secret_hash text NOT NULL UNIQUE,
  created_ms  bigint NOT NULL,
  revoked_ms  bigint
);
CREATE INDEX api_keys_of_team ON api_keys (team, seq);

CREATE TABLE endpoints (
  seq                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id                   text NOT NULL UNIQUE,
  team                 text NOT NULL REFERENCES teams (id),
  name                 text NOT NULL,
  app_name             text NOT NULL,
  release              text NOT NULL,
  min_workers          bigint NOT NULL,
  max_workers          bigint NOT NULL,
  idle_timeout_s       bigint NOT NULL,
  slots                bigint NOT NULL,
  policy_type          text NOT NULL,
  policy_value         bigint NOT NULL,
  execution_timeout_ms bigint NOT NULL,
  ttl_ms               bigint NOT NULL,
  retries              bigint NOT NULL,
  retention_s          bigint NOT NULL,
  deliver_ahead        bigint,  -- NULL: as many as are good; 0: none
  version              bigint NOT NULL,
  created_ms           bigint NOT NULL,
  deleted_ms           bigint
);
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (team, name) WHERE deleted_ms IS NULL;

CREATE TABLE releases (
  seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id              text NOT NULL UNIQUE,
  endpoint        text NOT NULL REFERENCES endpoints (id) DEFERRABLE INITIALLY DEFERRED,
  number          bigint NOT NULL,
  image           text NOT NULL,
  command         text NOT NULL,
  env             text NOT NULL,  -- a JSON object
  gpus_per_worker bigint NOT NULL,
  created_ms      bigint NOT NULL,
  digest          text NOT NULL DEFAULT '',  -- what the image's tag meant at the first launch
  forgiven_ms     bigint NOT NULL DEFAULT 0,  -- launches that failed before do not count
  container       text NOT NULL DEFAULT '{}',  -- a JSON object: what only containers know
  UNIQUE (endpoint, number)
);
ALTER TABLE endpoints ADD CONSTRAINT endpoints_release FOREIGN KEY (release) REFERENCES releases (id) DEFERRABLE INITIALLY DEFERRED;

CREATE SEQUENCE job_seq;

-- Waiting and running jobs. A claim and an end rewrite the row and its entries in the indexes; a renewed lease changes no column
-- that an index knows, and finds room on the same page.
CREATE TABLE jobs (
  seq                bigint NOT NULL,
  id                 text PRIMARY KEY,
  team               text NOT NULL,
  endpoint           text NOT NULL,
  state              text NOT NULL,
  reason             text NOT NULL,
  low_priority       boolean NOT NULL,
  created_ms         bigint NOT NULL,
  queued_ms          bigint NOT NULL,
  expires_ms         bigint NOT NULL,
  execution_limit_ms bigint NOT NULL,
  retention_ms       bigint NOT NULL,
  retry_limit        bigint NOT NULL,
  attempt            bigint NOT NULL,
  losses             bigint NOT NULL,
  worker             text,
  claimed_ms         bigint,
  confirmed_ms       bigint,
  lease_until_ms     bigint,
  finished_ms        bigint,
  deadline_ms        bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
-- What a claim walks: it holds the waiting jobs only, so its cost does not depend on how many there are.
CREATE INDEX jobs_queued ON jobs (endpoint, low_priority, seq) WHERE state = 'queued';
CREATE INDEX jobs_expiring ON jobs (expires_ms) WHERE state = 'queued';
-- As many as there are slots: whoever looks for overdue ones walks it all.
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
-- Jobs that were delivered ahead: read from its beginning when a job ends, to find the one whose turn it is.
CREATE INDEX jobs_ahead ON jobs (worker, low_priority, seq) WHERE state = 'ahead';

CREATE TABLE ended_jobs (
  seq                bigint NOT NULL,
  id                 text PRIMARY KEY,
  team               text NOT NULL,
  endpoint           text NOT NULL,
  state              text NOT NULL,
  reason             text NOT NULL,
  low_priority       boolean NOT NULL,
  created_ms         bigint NOT NULL,
  queued_ms          bigint NOT NULL,
  expires_ms         bigint NOT NULL,
  execution_limit_ms bigint NOT NULL,
  retention_ms       bigint NOT NULL,
  retry_limit        bigint NOT NULL,
  attempt            bigint NOT NULL,
  losses             bigint NOT NULL,
  worker             text,
  claimed_ms         bigint,
  confirmed_ms       bigint,
  lease_until_ms     bigint,
  finished_ms        bigint NOT NULL,
  purge_ms           bigint NOT NULL,
  stream_closed      boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX ended_jobs_of_endpoint ON ended_jobs (endpoint, state, seq);
CREATE INDEX ended_jobs_outlived ON ended_jobs (purge_ms);

CREATE VIEW all_jobs AS
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, false AS stream_closed FROM jobs
  UNION ALL
  SELECT seq, id, team, endpoint, state, reason, low_priority, created_ms, queued_ms, expires_ms, execution_limit_ms, retention_ms,
    retry_limit, attempt, losses, worker, claimed_ms, confirmed_ms, lease_until_ms, finished_ms, stream_closed FROM ended_jobs;

-- Bodies are JSON that compresses little and is read whole: kept outside the row when large, and not compressed.
CREATE TABLE inputs (
  job       bigint PRIMARY KEY,
  input     bytea NOT NULL,
  webhook   text,
  s3_config bytea
) WITH (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE inputs ALTER COLUMN input SET STORAGE EXTERNAL;

CREATE TABLE outputs (
  job    bigint PRIMARY KEY,
  output bytea,
  error  bytea  -- UTF-8; handlers may send half of a surrogate pair, which a text cannot hold
) WITH (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE outputs ALTER COLUMN output SET STORAGE EXTERNAL;

CREATE TABLE parts (
  seq  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job  bigint NOT NULL,
  part bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE parts ALTER COLUMN part SET STORAGE EXTERNAL;
CREATE INDEX parts_of_job ON parts (job, seq);

CREATE TABLE submit_keys (
  endpoint  text NOT NULL,
  key       text NOT NULL,
  job       text NOT NULL,
  body_hash text NOT NULL,
  at_ms     bigint NOT NULL,
  PRIMARY KEY (endpoint, key)
);
CREATE INDEX submit_keys_by_age ON submit_keys (at_ms);

CREATE TABLE stops (
  worker   text NOT NULL,
  job      text NOT NULL,
  asked_ms bigint NOT NULL,
  told_ms  bigint,
  PRIMARY KEY (worker, job)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A row for each endpoint and shard: servers that commit side by side do not wait for each other. Added up when read.
CREATE TABLE counters (
  endpoint   text NOT NULL,
  shard      integer NOT NULL,
  queued     bigint NOT NULL,
  queued_low bigint NOT NULL,
  ahead      bigint NOT NULL,
  running    bigint NOT NULL,
  completed  bigint NOT NULL,
  failed     bigint NOT NULL,
  cancelled  bigint NOT NULL,
  timed_out  bigint NOT NULL,
  retried    bigint NOT NULL,
  PRIMARY KEY (endpoint, shard)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE workers (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text NOT NULL UNIQUE,
  team        text NOT NULL,
  endpoint    text NOT NULL REFERENCES endpoints (id),
  release     text NOT NULL REFERENCES releases (id),
  state       text NOT NULL,
  reason      text NOT NULL,
  detail      text NOT NULL,
  token_hash  text NOT NULL UNIQUE,
  gpus        text NOT NULL,  -- a JSON array
  decided_ms  bigint NOT NULL,
  launched_ms bigint,
  ready_ms    bigint,
  idle_ms     bigint,
  drained_ms  bigint,
  stopped_ms  bigint,
  gone_ms     bigint,
  seen_ms     bigint,
  pinged_ms   bigint,
  sdk         text NOT NULL,
  exit_code   bigint,
  exit_text   text,
  running     bigint NOT NULL,
  stopping    bigint NOT NULL,
  ahead       bigint NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX workers_alive ON workers (endpoint, seq) WHERE gone_ms IS NULL;
CREATE INDEX workers_gone ON workers (endpoint, gone_ms) WHERE gone_ms IS NOT NULL;
CREATE INDEX workers_by_end ON workers (gone_ms) WHERE gone_ms IS NOT NULL;
CREATE INDEX workers_of_release ON workers (release);

CREATE TABLE decisions (
  endpoint text PRIMARY KEY,
  at_ms    bigint NOT NULL,
  reason   text NOT NULL,
  text     text NOT NULL,
  wanted   bigint NOT NULL
);

CREATE TABLE named_leases (
  name     text PRIMARY KEY,
  holder   text NOT NULL,
  until_ms bigint NOT NULL
);

-- The ledger. Lines of jobs name them by `jobs.seq`: eight bytes in the index instead of a long random text.
CREATE TABLE story (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms    bigint NOT NULL,
  team     text NOT NULL,
  endpoint text NOT NULL,
  job      bigint,
  worker   text,
  kind     text NOT NULL,
  state    text NOT NULL,
  reason   text NOT NULL,
  attempt  bigint,
  text     text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX story_of_job ON story (job) WHERE job IS NOT NULL;
CREATE INDEX story_of_worker ON story (worker) WHERE job IS NULL;
