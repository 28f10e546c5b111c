-- Notices are listed: those of a team, and those of an endpoint, newest first.

CREATE INDEX notices_of_team ON notices (team, number);
CREATE INDEX notices_of_endpoint ON notices (endpoint, number);
