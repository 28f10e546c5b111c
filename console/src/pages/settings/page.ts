import { page } from '../../lib/pages';

export default [
    page('/settings', 'Settings', () => import('./Settings.svelte'), {
        group: 'Server',
        order: 0,
        key: 'x',
        icon: 'M2.500 5h6M12 5h1.500M2.500 11H4M7.500 11h6M10.300 3.300a1.700 1.700 0 1 0 .01 0M5.700 9.300a1.700 1.700 0 1 0 .01 0',
        scope: 'admin',
        wholeTeam: true,
    }),
];
