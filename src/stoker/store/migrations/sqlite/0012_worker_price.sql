-- What an hour of a worker costs, in millionths, as it was when the worker was decided.

ALTER TABLE workers ADD COLUMN price_per_hour_micros INTEGER NOT NULL DEFAULT 0;
