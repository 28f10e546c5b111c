import { page } from '../../lib/pages';

export default [
    page('/credentials', 'Registry credentials', () => import('./Credentials.svelte'), {
        group: 'Configure',
        order: 2,
        key: 'r',
        icon: 'M5.500 7V5a2.500 2.500 0 0 1 5 0v2M3.500 7h9v6.500h-9ZM8 9.500v1.700',
        scope: 'read',
        wholeTeam: true,
    }),
];
