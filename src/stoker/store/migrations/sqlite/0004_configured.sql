-- Members and what keys know of them, the audit log, registry credentials, templates, and the key that seals secrets.

CREATE TABLE members (
  seq        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  team       TEXT NOT NULL REFERENCES teams (id),
  name       TEXT NOT NULL,
  role       TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  removed_ms INTEGER
) STRICT;
CREATE INDEX members_of_team ON members (team, seq);
-- Keys that were made before there were members belong to an owner.
INSERT INTO members (id, team, name, role, created_ms)
  SELECT 'mem-' || substr(id, 6), id, 'owner', 'owner', created_ms FROM teams ORDER BY seq;

ALTER TABLE api_keys ADD COLUMN member TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN endpoints TEXT NOT NULL DEFAULT '';  -- ids joined by spaces; empty for all
ALTER TABLE api_keys ADD COLUMN expires_ms INTEGER;
ALTER TABLE api_keys ADD COLUMN used_ms INTEGER;
ALTER TABLE api_keys ADD COLUMN old_hash TEXT;
ALTER TABLE api_keys ADD COLUMN old_until_ms INTEGER;
UPDATE api_keys SET member = 'mem-' || substr(team, 6);
CREATE INDEX api_keys_by_old_hash ON api_keys (old_hash) WHERE old_hash IS NOT NULL;

CREATE TABLE audit (
  seq    INTEGER PRIMARY KEY,
  at_ms  INTEGER NOT NULL,
  team   TEXT NOT NULL,
  member TEXT,
  key    TEXT,
  action TEXT NOT NULL,
  kind   TEXT NOT NULL,
  thing  TEXT NOT NULL,
  name   TEXT NOT NULL,
  before TEXT,  -- JSON, as `after`
  after  TEXT
) STRICT;
CREATE INDEX audit_of_team ON audit (team, seq);

CREATE TABLE credentials (
  seq        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  team       TEXT NOT NULL REFERENCES teams (id),
  name       TEXT NOT NULL,
  registry   TEXT NOT NULL,
  username   TEXT NOT NULL,
  password   TEXT NOT NULL,  -- sealed
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX credentials_by_name ON credentials (team, name);

CREATE TABLE templates (
  seq        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  team       TEXT NOT NULL REFERENCES teams (id),
  name       TEXT NOT NULL,
  fields     TEXT NOT NULL,  -- JSON; secret values sealed
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX templates_by_name ON templates (team, name);

-- One row: which key seals what is secret, and something that it sealed, to tell that it is the right one.
CREATE TABLE secrets_key (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  id       TEXT NOT NULL,
  proof    TEXT NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE endpoints ADD COLUMN webhook TEXT NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN paused_ms INTEGER;
ALTER TABLE releases ADD COLUMN credential TEXT;
ALTER TABLE releases ADD COLUMN entrypoint TEXT NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN cuda TEXT NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN http_port INTEGER NOT NULL DEFAULT 0;
ALTER TABLE releases ADD COLUMN made_by TEXT;
CREATE INDEX releases_by_credential ON releases (credential) WHERE credential IS NOT NULL;
