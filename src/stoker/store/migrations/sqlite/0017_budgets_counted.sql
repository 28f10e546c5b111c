-- Up to when a budget is counted, so that what runs since can be added; and no budget of an endpoint that is gone.

ALTER TABLE budgets ADD COLUMN counted_ms INTEGER NOT NULL DEFAULT 0;
DELETE FROM budgets WHERE endpoint IN (SELECT id FROM endpoints WHERE deleted_ms IS NOT NULL);
