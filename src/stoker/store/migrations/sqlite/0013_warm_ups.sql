-- Images that teams want to have where their workers start.

CREATE TABLE warm_ups (
  team       TEXT NOT NULL REFERENCES teams (id),
  image      TEXT NOT NULL,
  credential TEXT,  -- with what it is fetched
  state      TEXT NOT NULL,
  text       TEXT NOT NULL,  -- how far it is, or what went wrong
  code       TEXT NOT NULL,
  digest     TEXT NOT NULL,
  tries      INTEGER NOT NULL,
  due_ms     INTEGER NOT NULL,
  asked_ms   INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  PRIMARY KEY (team, image)
) STRICT;
CREATE INDEX warm_ups_by_image ON warm_ups (image);
CREATE INDEX warm_ups_by_digest ON warm_ups (digest);
CREATE INDEX warm_ups_unfinished ON warm_ups (asked_ms) WHERE state = 'fetching';
