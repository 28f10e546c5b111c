import { page } from '../../lib/pages';

export default [
    page('/workers', 'Workers', () => import('./Workers.svelte'), {
        group: 'Run',
        order: 3,
        key: 'w',
        icon: 'M4.500 4.500h7v7h-7ZM6 2v2.500M10 2v2.500M6 11.500V14M10 11.500V14M2 6h2.500M2 10h2.500M11.500 6H14M11.500 10H14',
    }),
    page('/workers/:worker', 'Worker', () => import('./Worker.svelte')),
];
