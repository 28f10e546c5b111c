import { page } from '../../lib/pages';

export default [
    page('/audit', 'Audit log', () => import('./Audit.svelte'), {
        group: 'Team',
        order: 3,
        key: 'a',
        icon: 'M4 2.500h8v11H4ZM6 5.500h4M6 8h4M6 10.500h2.500',
        scope: 'admin',
        wholeTeam: true,
    }),
];
