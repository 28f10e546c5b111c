-- Where workers are placed, and where those of a release may be.

ALTER TABLE workers ADD COLUMN specification TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE releases ADD COLUMN specifications TEXT NOT NULL DEFAULT '[]';  -- a JSON array of ids
