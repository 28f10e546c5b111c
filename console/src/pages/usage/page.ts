import { page } from '../../lib/pages';

export default [
    page('/usage', 'Usage', () => import('./Usage.svelte'), {
        group: 'Team',
        order: 1,
        key: 'u',
        icon: 'M2.500 13.500h11M4 11V8M7 11V4.500M10 11V6.500M13 11V3',
        scope: 'read',
        wholeTeam: true,
    }),
];
