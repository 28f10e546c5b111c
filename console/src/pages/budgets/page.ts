import { page } from '../../lib/pages';

export default [
    page('/budgets', 'Budgets', () => import('./Budgets.svelte'), {
        group: 'Team',
        order: 2,
        key: 'l',
        icon: 'M8 2.500v11M11 5c-.5-1-1.600-1.500-3-1.500-1.700 0-3 .8-3 2.200 0 3.100 6.200 1.600 6.200 4.600 0 1.400-1.400 2.200-3.200 2.200-1.600 0-2.800-.6-3.200-1.700',
        scope: 'read',
        wholeTeam: true,
    }),
];
