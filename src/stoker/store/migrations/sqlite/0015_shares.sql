-- Endpoints share a full machine by weight; since when a worker was wanted tells who waited.

ALTER TABLE endpoints ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE workers ADD COLUMN wanted_ms INTEGER;
