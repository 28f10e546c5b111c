-- How much may be asked of an endpoint, and by a key: requests to /run in ten seconds; NULL: as the server, and the endpoint, say.

ALTER TABLE endpoints ADD COLUMN rate bigint;
ALTER TABLE api_keys ADD COLUMN rate bigint;
