import { page } from '../../lib/pages';

export default [
    page('/playground/:endpoint?', 'Playground', () => import('./Playground.svelte'), {
        group: 'Run',
        order: 4,
        key: 'p',
        icon: 'M4.500 3v10l8-5Z',
    }),
];
