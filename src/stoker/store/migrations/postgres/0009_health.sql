-- Since when a worker gets no jobs because of its health check.

ALTER TABLE workers ADD COLUMN unhealthy_ms bigint;
