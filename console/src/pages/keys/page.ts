import { page } from '../../lib/pages';

export default [
    page('/keys/:tab?', 'Keys and members', () => import('./Team.svelte'), {
        group: 'Team',
        order: 0,
        key: 'k',
        icon: 'M8.500 5.500a3 3 0 1 0-6 0a3 3 0 1 0 6 0M8.500 5.500H14M11.500 5.500v2.700M14 5.500v1.800M3 13.500h10',
        scope: 'admin',
        wholeTeam: true,
    }),
];
