-- How many jobs a worker runs, and was told to stop and still holds: read with its row instead of counted for every take.

ALTER TABLE workers ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN stopping INTEGER NOT NULL DEFAULT 0;
UPDATE workers SET
  running = (SELECT count(*) FROM jobs WHERE jobs.worker = workers.id AND jobs.state = 'running'),
  stopping = (SELECT count(*) FROM stops WHERE stops.worker = workers.id)
WHERE gone_ms IS NULL;

-- Jobs that were delivered ahead: a worker has them behind those that it runs.

ALTER TABLE workers ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN deliver_ahead INTEGER;  -- NULL: as many as are good; 0: none
-- Read from its beginning when a job ends, to find the one whose turn it is.
CREATE INDEX jobs_ahead ON jobs (worker, low_priority, seq) WHERE state = 'ahead';
