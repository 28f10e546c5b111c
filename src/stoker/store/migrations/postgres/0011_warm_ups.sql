-- Images that teams want to have where their workers start.

CREATE TABLE warm_ups (
  team       text NOT NULL REFERENCES teams (id),
  image      text NOT NULL,
  credential text,  -- with what it is fetched
  state      text NOT NULL,
  text       text NOT NULL,  -- how far it is, or what went wrong
  code       text NOT NULL,
  digest     text NOT NULL,
  tries      bigint NOT NULL,
  due_ms     bigint NOT NULL,
  asked_ms   bigint NOT NULL,
  updated_ms bigint NOT NULL,
  PRIMARY KEY (team, image)
);
CREATE INDEX warm_ups_by_image ON warm_ups (image);
CREATE INDEX warm_ups_by_digest ON warm_ups (digest);
CREATE INDEX warm_ups_unfinished ON warm_ups (asked_ms) WHERE state = 'fetching';
