-- The ledger as it is followed: in the order in which transactions can be known to have ended, and with what happens to endpoints.

-- Numbers are drawn before a commit, so a lower one may be seen after a higher one. Lines are therefore handed out by transaction,
-- once none that is older can still commit. Lines from before have no order but their number.
ALTER TABLE story ADD COLUMN tx xid8 NOT NULL DEFAULT '0';
ALTER TABLE story ALTER COLUMN tx SET DEFAULT pg_current_xact_id();
ALTER TABLE story DROP CONSTRAINT story_pkey;
ALTER TABLE story ADD PRIMARY KEY (tx, seq);

ALTER TABLE story ADD COLUMN job_id text;  -- of `job`: who follows gets every line without looking elsewhere
ALTER TABLE story ADD COLUMN wanted bigint;  -- workers, in decisions about an endpoint
-- Lines about endpoints go when they are old; those about jobs and workers go with them.
CREATE INDEX story_of_endpoints ON story (at_ms) WHERE job IS NULL AND worker IS NULL;
