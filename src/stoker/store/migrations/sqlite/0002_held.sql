-- How many jobs a worker runs, and was told to stop and still holds: read with its row instead of counted for every take.

ALTER TABLE workers ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN stopping INTEGER NOT NULL DEFAULT 0;
UPDATE workers SET
  running = (SELECT count(*) FROM jobs WHERE jobs.worker = workers.id AND jobs.state = 'running'),
  stopping = (SELECT count(*) FROM stops WHERE stops.worker = workers.id)
WHERE gone_ms IS NULL;
