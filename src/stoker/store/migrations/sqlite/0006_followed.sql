-- The ledger as it is followed: what happens to endpoints is told there too.

ALTER TABLE story ADD COLUMN wanted INTEGER;  -- workers, in decisions about an endpoint
-- Lines about endpoints go when they are old; those about jobs and workers go with them.
CREATE INDEX story_of_endpoints ON story (at_ms) WHERE job IS NULL AND worker IS NULL;
