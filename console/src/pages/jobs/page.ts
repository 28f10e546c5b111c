import { page } from '../../lib/pages';

export default [
    page('/jobs', 'Jobs', () => import('./Jobs.svelte'), {
        group: 'Run',
        order: 2,
        key: 'j',
        icon: 'M3 4h10M3 8h10M3 12h6',
    }),
    page('/jobs/:job', 'Job', () => import('./Job.svelte')),
];
