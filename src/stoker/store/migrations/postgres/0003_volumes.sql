-- Volumes of teams, and which releases mount them.

CREATE TABLE volumes (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text NOT NULL UNIQUE,
  team        text NOT NULL REFERENCES teams (id),
  name        text NOT NULL,
  size_gb     bigint NOT NULL,
  mount_path  text NOT NULL,
  used_bytes  bigint NOT NULL,
  measured_ms bigint,
  created_ms  bigint NOT NULL,
  updated_ms  bigint NOT NULL
);
CREATE UNIQUE INDEX volumes_by_name ON volumes (team, name);

CREATE TABLE mounts (
  release text NOT NULL,
  volume  text NOT NULL,  -- its name in the team
  PRIMARY KEY (release, volume)
);
CREATE INDEX mounts_of_volume ON mounts (volume);
-- Releases that mounted volumes of the engine's need a volume of that name from now on.
INSERT INTO mounts (release, volume)
  SELECT releases.id, split_part(one.text, ':', 1)
  FROM releases, json_array_elements_text(coalesce(releases.container::json -> 'volumes', '[]'::json)) AS one (text)
  WHERE one.text NOT LIKE '/%'
  ON CONFLICT DO NOTHING;
