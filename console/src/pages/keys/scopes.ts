/** What scopes and roles mean, for those who give them. */

import type { Role, Scope } from '../../lib/api';

export const SCOPES: [Scope, string][] = [
    ['read', 'sees endpoints, workers, jobs and results'],
    ['run', 'also submits, cancels and retries jobs'],
    ['manage', 'also configures endpoints, templates, credentials and storage'],
    ['admin', 'everything, also keys, members and the audit log'],
];

export const ROLES: [Role, string][] = [
    ['reader', 'looks at everything but keys, members and the audit log'],
    ['developer', 'runs jobs and configures endpoints'],
    ['admin', 'also keys, members and the audit log'],
    ['owner', "also owners and the team's name"],
];

/** How long a key may live: seconds, and in words. */
export const LIVES: [string, string][] = [
    ['', 'never'],
    ['86400', 'in a day'],
    ['604800', 'in a week'],
    ['2592000', 'in 30 days'],
    ['7776000', 'in 90 days'],
    ['31536000', 'in a year'],
];
