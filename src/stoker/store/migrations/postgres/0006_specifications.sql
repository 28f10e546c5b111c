-- Where workers are placed, and where those of a release may be.

ALTER TABLE workers ADD COLUMN specification text NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN memory_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE releases ADD COLUMN specifications text NOT NULL DEFAULT '[]';  -- a JSON array of ids
