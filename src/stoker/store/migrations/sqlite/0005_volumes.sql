-- Volumes of teams, and which releases mount them.

CREATE TABLE volumes (
  seq         INTEGER PRIMARY KEY,
  id          TEXT NOT NULL UNIQUE,
  team        TEXT NOT NULL REFERENCES teams (id),
  name        TEXT NOT NULL,
  size_gb     INTEGER NOT NULL,
  mount_path  TEXT NOT NULL,
  used_bytes  INTEGER NOT NULL,
  measured_ms INTEGER,
  created_ms  INTEGER NOT NULL,
  updated_ms  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX volumes_by_name ON volumes (team, name);

CREATE TABLE mounts (
  release TEXT NOT NULL,
  volume  TEXT NOT NULL,  -- its name in the team
  PRIMARY KEY (release, volume)
) STRICT, WITHOUT ROWID;
CREATE INDEX mounts_of_volume ON mounts (volume);
-- Releases that mounted volumes of the engine's need a volume of that name from now on.
INSERT OR IGNORE INTO mounts (release, volume)
  SELECT releases.id, substr(text.value, 1, instr(text.value, ':') - 1)
  FROM releases, json_each(releases.container, '$.volumes') AS text WHERE text.value NOT LIKE '/%';
