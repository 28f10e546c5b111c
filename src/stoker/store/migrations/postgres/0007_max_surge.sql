-- How many workers a new release may start beside those of the old one.

ALTER TABLE endpoints ADD COLUMN max_surge bigint NOT NULL DEFAULT 1;
