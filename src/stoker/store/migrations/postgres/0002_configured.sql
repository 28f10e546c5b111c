-- Members and what keys know of them, the audit log, registry credentials, templates, and the key that seals secrets.

CREATE TABLE members (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text NOT NULL UNIQUE,
  team       text NOT NULL REFERENCES teams (id),
  name       text NOT NULL,
  role       text NOT NULL,
  created_ms bigint NOT NULL,
  removed_ms bigint
);
CREATE INDEX members_of_team ON members (team, seq);
-- Keys that were made before there were members belong to an owner.
INSERT INTO members (id, team, name, role, created_ms)
  SELECT 'mem-' || substr(id, 6), id, 'owner', 'owner', created_ms FROM teams ORDER BY seq;

ALTER TABLE api_keys ADD COLUMN member text NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN endpoints text NOT NULL DEFAULT '';  -- ids joined by spaces; empty for all
ALTER TABLE api_keys ADD COLUMN expires_ms bigint;
ALTER TABLE api_keys ADD COLUMN used_ms bigint;
ALTER TABLE api_keys ADD COLUMN old_hash text;
ALTER TABLE api_keys ADD COLUMN old_until_ms bigint;
UPDATE api_keys SET member = 'mem-' || substr(team, 6);
CREATE INDEX api_keys_by_old_hash ON api_keys (old_hash) WHERE old_hash IS NOT NULL;

CREATE TABLE audit (
  seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms  bigint NOT NULL,
  team   text NOT NULL,
  member text,
  key    text,
  action text NOT NULL,
  kind   text NOT NULL,
  thing  text NOT NULL,
  name   text NOT NULL,
  before text,  -- JSON, as `after`
  after  text
);
CREATE INDEX audit_of_team ON audit (team, seq);

CREATE TABLE credentials (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text NOT NULL UNIQUE,
  team       text NOT NULL REFERENCES teams (id),
  name       text NOT NULL,
  registry   text NOT NULL,
  username   text NOT NULL,
  password   text NOT NULL,  -- sealed
  created_ms bigint NOT NULL,
  updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX credentials_by_name ON credentials (team, name);

CREATE TABLE templates (
  seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text NOT NULL UNIQUE,
  team       text NOT NULL REFERENCES teams (id),
  name       text NOT NULL,
  fields     text NOT NULL,  -- JSON; secret values sealed
  created_ms bigint NOT NULL,
  updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX templates_by_name ON templates (team, name);

-- One row: which key seals what is secret, and something that it sealed, to tell that it is the right one.
CREATE TABLE secrets_key (
  one      bigint PRIMARY KEY CHECK (one = 1),
  id       text NOT NULL,
  proof    text NOT NULL,
  since_ms bigint NOT NULL
);

ALTER TABLE endpoints ADD COLUMN webhook text NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN paused_ms bigint;
ALTER TABLE releases ADD COLUMN credential text;
ALTER TABLE releases ADD COLUMN entrypoint text NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN cuda text NOT NULL DEFAULT '';
ALTER TABLE releases ADD COLUMN http_port bigint NOT NULL DEFAULT 0;
ALTER TABLE releases ADD COLUMN made_by text;
CREATE INDEX releases_by_credential ON releases (credential) WHERE credential IS NOT NULL;
